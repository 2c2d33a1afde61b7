# パスキーによるサインイン
passkey = パスキー
passkey-sign-in = パスキーでサインインする
passkey-cancelled = パスキーは使用されませんでした。このページのパスキーがない場合は、ほかの方法でサインインしてください。
passkey-known = この機器には、このアカウントのパスキーがすでにあります。
passkey-missing = このブラウザーではパスキーを使えません。ほかの方法でサインインするか、別のブラウザーを使ってください。
passkey-broken = エッジに接続できないか、ブラウザーから応答がありません。もう一度お試しください。
passkey-no-script = パスキーにはスクリプトが必要です。このページで許可するか、別のブラウザーを使ってください。
passkey-refused = このパスキーはここでは使えません。削除された可能性があります。ほかの方法でサインインしてください。
passkey-void = 時間がかかりすぎたか、別のウィンドウで始められました。もう一度お試しください。
passkey-renew = { $method }でもう一度サインインしてください。その後はこれまでどおりパスキーを使えます。
passkey-renew-link = ほかの方法でサインインする
passkey-elsewhere = このパスキーは別の方法でサインインしたあとに追加されたため、ここでは使えません。{ $methods }でサインインしてください。
passkey-too-many = このアカウントのパスキーは上限に達しています。先に1つ削除してください。
passkey-not-made = パスキーを登録できませんでした。もう一度お試しになるか、別の機器を使ってください。
passkey-not-kept = この機器は、あとで見つけられる場所にパスキーを保存できません。別の機器を使ってください。
passkey-no-method = ここではパスキーを使えません。
passkey-again = 前回のサインインから時間がたっています。パスキーを追加する前に、もう一度サインインしてください。

# 自分のアカウント
account-name = アカウント
account-title = アカウント
account-text = <b>{ $email }</b>（<time datetime="{ $machine }">{ $time }</time>からサインイン中、メールの確認コード）
account-text-by = <b>{ $email }</b>（<time datetime="{ $machine }">{ $time }</time>からサインイン中、{ $method }）
account-back = アカウントに戻る
action = 操作
delete = 削除する
passkeys = パスキー
passkey-none = このアカウントにはまだパスキーがありません
passkey-what = パスキーがあれば、指紋、顔、画面ロックでサインインでき、メールを待つ必要がありません。
passkey-add = パスキーを追加する
passkey-add-text = 今後は、この機器や、同じパスワードマネージャーを使う機器で、<b>{ $email }</b>としてサインインできます。
passkey-label = 名前
passkey-label-hint = 一覧で見分けるための名前です。例：機器の名前
passkey-make = パスキーを作成する
passkey-added = 追加日時
passkey-used = 最終使用
passkey-unused = 未使用
passkey-delete = パスキーを削除する
passkey-delete-one = パスキー「{ $label }」を削除する
passkey-delete-name = パスキーの削除
passkey-delete-title = パスキー「{ $label }」を削除しますか
passkey-delete-ends = 使えなくなるもの
passkey-delete-ends-text = このパスキーではサインインできなくなります。
passkey-delete-stays = そのまま残るもの
passkey-delete-stays-text = このパスキーで始めたセッション。機器を紛失した場合は、前のページで終了してください。
passkey-delete-back = 元に戻すには
passkey-delete-back-text = パスキーをもう一度追加してください。古いパスキーは、機器の側でも削除するまで候補に表示されます。
passkey-delete-last = このアカウントの唯一のパスキーです。ほかにサインインの方法がない場合は、新しい招待が必要になります。
passkey-keep = 残す
sessions = セッション
sessions-end-all = すべて終了する
session-device = 機器
session-by = サインイン方法
session-code = メールの確認コード
session-begun = 開始
session-used = 最終使用
session-ends = { $time }まで
session-here = このブラウザー
session-end = 終了する
session-end-one = { $device }のセッションを終了する
session-client = アクセスクライアント（{ $device }）
session-client-unnamed = アクセスクライアント
session-browser = ブラウザー

# 招待
invitation-name = 招待
invitation-title = { $zone }へ<wbr>ようこそ
invitation-text = <b>{ $email }</b>として招待されています。この機器でパスキーを作成すると、今後はそれでサインインできます。
invitation-text-name = { $name }さん、<b>{ $email }</b>として招待されています。この機器でパスキーを作成すると、今後はそれでサインインできます。
invitation-until = この招待は<time datetime="{ $machine }">{ $time }</time>まで、1回だけ使えます。
invitation-gone-title = この招待はもう使えません
invitation-gone-text = すでに使用されたか、期限が切れたか、新しい招待が発行されています。ご自身で使用した場合は、パスキーでサインインしてください。それ以外の場合は、管理者に新しい招待を依頼してください。
invitation-gone-plain = この招待はすでに使用されたか、無効になっています。管理者に新しい招待を依頼してください。
invitation-closed-title = この招待は現在使えません
invitation-closed-text = 現在ここではパスキーを使えません。招待は使用済みになっていません。管理者に連絡し、あとでもう一度リンクを開いてください。

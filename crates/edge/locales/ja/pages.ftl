# What stands on every page
skip = 本文へ移動
language = 言語
foot = { $zone }の非公開ページはTunnelで保護されています
no-admin-notice = <b>このエッジにはまだ管理者がいません。</b>起動した方は、端末に表示されたセットアップ用リンクを開くか、<code>edge admin setup-link</code>で新しいリンクを表示してください。
no-admin-notice-plain = このエッジにはまだ管理者がいません。端末に表示されたセットアップ用リンクを開くか、「edge admin setup-link」で新しいリンクを表示してください。

# Stations and facts
way = { $host }までの経路
stopped-where = アクセスが止まった場所
you = あなた
this-browser = このブラウザー
sign-in = サインイン
you-are-here = いまここ
private-page = 非公開ページ
private = 非公開
page = ページ
done = 完了
not-yet = これから
not-reached = 未到達
stopped-here = ここで停止
interrupted = 中断
signed-in = 本人確認
by-code = メールのコード
policy = ポリシー
not-admitted = 許可なし
you-admitted = 許可済み
edge = エッジ
working = 正常
tunnel = トンネル
connected = 接続済み
error = エラー
time = 日時
reference = 参照番号
what-you-can-do = 次にできること
if-it-lasts = しばらく続く場合
if-it-happens-again = 繰り返し起こる場合
if-you-need-help = お困りの場合
if-it-should = ページがあるはずの場合
tell-contact = 参照番号を<a href="{ $mailto }">{ $contact }</a>にお知らせください。
tell-administrator = 参照番号を管理者にお知らせください。
try-again = もう一度試す

# Sign in
login-name = { $short }へのサインイン
login-title = { $short }を開くにはサインインしてください
login-going = 移動先は{ $zone }の非公開ページ<span class="mono">{ $host }</span>です。
login-required = 先にサインインが必要です。このアドレスをブラウザーで開いてください。
email-label = メールアドレス
email-not-an-address = メールアドレスの形になっていません。name@example.comのように入力してください。
send-code = 確認コードをメールで受け取る
mail-delayed = 現在、メールの配信が遅れています。確認コードが届くまで数分かかることがあります。

# The code
pin-name = 確認コードの入力
pin-title = 確認コードを入力してください
pin-dead-title = 新しい確認コードが必要です
pin-text = <b>{ $email }</b>に<span class="mono">{ $host }</span>の利用が許可されている場合は、8桁の確認コードをお送りしています。許可されているアドレスにだけ届きます。
code-label = メールに記載の確認コード
code-hint = 10分以内に、このブラウザーで1回だけ使えます。
code-not-digits = 確認コードは8桁の数字です。メールに記載のとおりに入力してください。
code-wrong = コードが一致しません。<span class="whole">あと{ $left }回</span>入力できます。新しい確認コードを受け取ることもできます。
code-void = このコードはもう使えません。新しい確認コードを受け取ってください。
code-expired = このコードの有効時間が過ぎました。新しい確認コードを受け取ってください。
open = { $short }を開く
nothing-arrived = メールが届かないとき
look-in-spam = 迷惑メールのフォルダーをご確認ください。上のアドレスに誤りがないかもご確認ください。届くまで1分ほどかかることがあります。
new-code = 新しい確認コードを受け取る
other-address = 別のアドレスや方法を使う

# Start again
again-name = サインインのやり直し
again-title = このサインインは続けられません
again-text = 別のブラウザーやウィンドウで始めたか、始めてから時間がたっています。何も開かれていませんので、最初からやり直してください。
again-open-text = 別のブラウザーやウィンドウで始めたか、始めてから時間がたっています。何も開かれていません。開きたかったページをもう一度開いて、最初からやり直してください。
start-again = 最初からやり直す

# Turned away
denied-name = 許可されていません
denied-title = サインインできましたが、このアドレスでは{ $short }を開けません
denied-text = 現在、<span class="mono">{ $host }</span>の利用を許可するポリシーに当てはまるものがありません。お使いのアカウントやパソコンに問題はありません。
denied-text-plain = 現在、{ $host }の利用を許可するポリシーに当てはまるものがありません。
denied-early-title = ここからは{ $short }を開けません
denied-early-text = 現在、<span class="mono">{ $host }</span>には、このネットワークからの利用を許可するポリシーがありません。サインインしても開けないため、ここで止めています。お使いのパソコンに問題はありません。
denied-next = 別のアドレスをお持ちの場合は、そのアドレスでサインインしてください。業務で{ $short }が必要な場合は、参照番号を管理者にお伝えください。管理者は理由を確認し、設定を変更できます。
denied-early-next = 業務で{ $short }が必要な場合は、いつものネットワークからお試しいただくか、参照番号を管理者にお伝えください。管理者は理由を確認し、設定を変更できます。
signed-in-as = サインイン中のアドレス
use-another = 別のアドレスを使う
write-to = { $contact }に連絡する

# Nothing here, and requests we cannot take
no-host-title = ページが見つかりません
no-host-text = <span class="mono">{ $host }</span>では何も公開されていません。アドレスに誤りがないかをご確認ください。
no-host-error = 404（不明なホスト名）
no-page-title = ページが見つかりません
no-page-text = このアドレスにはページがありません。アドレスに誤りがないかをご確認ください。
no-page-error = 404（該当なし）
bad-request-title = リクエストを読み取れません
bad-request-text = ブラウザーまたはプログラムから届いた内容が何通りにも解釈できるため、処理していません。アドレスバーからアドレスを開き直してみてください。
bad-request-error = 400（不明確なリクエスト）
target-long-title = アドレスが長すぎます
target-long-text = 受け付けられる長さを超えています。アドレスを正しくコピーできているかをご確認いただくか、サイトの最初のページから開いてください。
target-long-error = 414（アドレスが長すぎます）
too-long-title = リクエストが長すぎます
too-long-text = ブラウザーまたはプログラムから届いた付随情報が、受け付けられる量を超えています。アドレスを開き直すか、このサイトのCookieを削除してみてください。
too-long-error = 431（ヘッダーが多すぎるか大きすぎます）
method-title = このページでは使えない方法です
method-text = このページでは使えないメソッドのリクエストが届きました。何も変更されていません。
method-error = 405（使えないメソッド）
form-title = このフォームは受け付けられません
form-text = フォームを開いてから時間がたっているか、別のウィンドウまたは別のサイトから送られたものです。何も変更されていませんので、もう一度開いてください。
form-error = 403（フォームを受け付けられません）
form-next = フォームを開き直す
loop-title = 接続先がこのアドレスに戻っています
loop-text = <span class="mono">{ $host }</span>の先にあるサービスがリクエストをここへ送り返すため、届きません。公開している人が、サービスの別のアドレスを指定する必要があります。
loop-error = 508（ループ）
many-title = リクエストが多すぎます
many-text = お使いのネットワークから短い時間に多くのリクエストが届きました。{ $seconds }秒待ってから、もう一度お試しください。
many-error = 429（リクエスト過多）
overloaded-title = 現在混み合っています
overloaded-text = エッジが現在扱える上限に達しています。通常は間もなく解消しますので、しばらくしてからもう一度お試しください。
overloaded-error = 503（エッジの上限）
fault-title = こちら側で問題が起きました
fault-text = エッジの問題により、処理を終えられませんでした。あなたの操作が原因ではありません。もう一度試すと解決することがあります。
fault-error = 500（エッジの問題）

# On the way to the service
bad-answer-title = { $short }はつながっていますが、応答がありません
bad-answer-text = 利用の許可は確認でき、トンネルもつながっています。<span class="mono">{ $host }</span>を提供するサービスが、接続を受け付けないか、正しくない応答を返しました。
bad-answer-last = フォームを送った直後の場合は、もう一度送る前に、届いているかどうかをご確認ください。
bad-answer-error = 502（サービスの応答が不正）
bad-answer-station = 正しい応答なし
slow-title = { $short }の応答に時間がかかっています
slow-text = 利用の許可は確認でき、トンネルもつながっています。<span class="mono">{ $host }</span>を提供するサービスから、時間内に応答がありませんでした。
slow-last = フォームを送った直後の場合は、もう一度送る前に、届いているかどうかをご確認ください。
slow-error = 504（時間内の応答なし）
slow-station = 応答待ち
no-tunnel-title = { $short }は現在つながっていません
no-tunnel-text = 利用の許可は確認できています。<span class="mono">{ $host }</span>を提供する機器が、現在こちらに接続していません。再起動中か、電源またはネットワークが切れている可能性があります。
no-tunnel-last = この機器を管理している方は、機器の側でコネクターが動いているかどうかを確認できます。
no-tunnel-error = 530（トンネル未接続）
no-tunnel-station = 未接続
busy-title = { $short }は現在混み合っています
busy-text = 利用の許可は確認できています。<span class="mono">{ $host }</span>へのトンネルが、現在扱える上限に達しています。通常は数秒で解消します。
busy-error = 503（トンネルの上限）
busy-station = 上限に到達
tcp-name = ウェブページではありません
tcp-title = これはウェブページではありません
tcp-text = <span class="mono">{ $host }</span>は、お使いのパソコンの端末で、アクセスクライアントを使って開きます。PORTは空いているポート番号に置き換えてください。

# Sign out
logout-name = サインアウト
logout-title = サインアウトしますか
logout-text = <b>{ $email }</b>でサインインしています。サインアウトすると、このブラウザーでのすべての非公開ページの利用が終わります。
logout-nobody = このアドレスではサインインしていません。サインアウトすると、このアドレスがこのブラウザーに残したものが削除されます。
sign-out = サインアウトする
logout-stay = サインインしたままにする
logged-out-name = サインアウト
logged-out-title = サインアウトしました
logged-out-text = 次に非公開ページを開くときは、もう一度サインインが必要です。
sign-in-again = もう一度サインインする

# A machine asks
approve-name = 機器の接続
approve-title = この機器を{ $zone }に接続しますか
approve-text = <code>connector login</code>による申請がありました。承認すると、取り消すまでの間、この機器は下で選んだホスト名を公開できます。
approve-compare = 1. コードを照合してください
approve-must-show = 機器の画面に、次と同じコードが表示されている必要があります。
approve-who = 2. 申請元を確認してください
address = アドレス
seen-by-edge = エッジで確認した値
calls-itself = 機器が名乗る名前
own-claim = 自己申告のため未確認
software = ソフトウェア
asked = 申請時刻
asked-at = { $minutes ->
    [0] <time datetime="{ $machine }">{ $time }、たった今</time>
   *[other] <time datetime="{ $machine }">{ $time }、{ $minutes }分前</time>
}
lapses-at = （{ $time }に失効）
approve-warning = ご自身で始めた場合か、始めた方といま話している場合にだけ承認してください。メールやチャットでリンクが届いただけのときは、承認しないでください。
approve-choose = 3. 公開を許可するホスト名を選んでください
served-by = { $tunnel }が使用中
free = 未使用
if-ticked = 選ぶと、{ $short }への接続先がこの機器に変わります。
hosts-label = ホスト名
hosts-hint = 機器からの指定はありません。公開を許可するホスト名を、www.{ $zone }のように空白で区切って入力してください。
same-code = 機器の画面に同じコード<b class="mono">{ $code }</b>が表示されています。
approve = 承認する
refuse = 拒否する
approve-not-compared = 承認する前に、コードを照合し、同じであることを選択してください。
approve-no-host = ホスト名を1つ以上選ぶか、拒否してください。
approve-bad-host = 使えないホスト名があります。{ $zone }で終わる名前を入力してください。
approved-title = 機器を承認しました
approved-text = <span class="mono">{ $machine }</span>は次のホスト名を公開できます。
approved-next = 機器の画面は自動で先に進みます。このページは閉じてかまいません。
refused-title = 機器を拒否しました
machine-refused-text = 何も公開されていません。申請があったことは記録されています。このページは閉じてかまいません。
refused-text = 何も開かれていません。申請があったことは記録されています。このページは閉じてかまいません。
lapsed-title = 承認を待つ申請はありません
lapsed-text = この申請はすでに回答済みか、失効しています。新しく申請するには、機器で<code>connector login</code>をもう一度入力してください。

# A program asks
client-name = プログラムから{ $short }を開く
client-result-name = プログラムから非公開ページを開く
client-way = 許可する経路
client-computer = パソコン
client-program = アクセス<wbr>クライアント
client-as-you = あなたとして
client-title = アクセスクライアントに、あなたとしての{ $short }への接続を許可しますか
client-text = プログラムが<b>{ $email }</b>として<span class="mono">{ $host }</span>を開こうとしています。そのプログラムの画面に、次と同じコードが表示されている必要があります。
client-text-elsewhere = 別の機器のプログラムが<b>{ $email }</b>として<span class="mono">{ $host }</span>を開こうとしています。そのプログラムの画面に、<span class="mono whole">KXBT-3MRQ</span>のようなコードが表示されています。
client-code-label = プログラムの画面のコード
client-code-hint = 8文字の英数字です。プログラムの画面にだけ表示されます。
client-code-wrong = プログラムの画面のコードと一致しません。3回間違えると、プログラムから申請し直す必要があります。
client-allow-elsewhere = 許可する
client-application = アプリケーション
client-command = コマンド
client-from = 申請元
client-same = このブラウザーと同じアドレス
client-other = このブラウザーとは別のアドレス
client-lasts = 期限
client-until = { $time }まで、またはサインアウトするまで
client-warning = このコマンドをたった今ご自身で入力し、その画面が目の前にある場合にだけ許可してください。メールやチャットでリンクが届いただけのときは、許可しないでください。リンクの送り主が、あなたとして接続できるようになります。
client-allow = コードが一致したので許可する
client-not-you = 心当たりがない場合は、「拒否する」を選んでください。何も開かれず、申請があったことは記録されます。
client-allowed-title = プログラムを許可しました
client-allowed-text = <span class="mono">{ $computer }</span>のアクセスクライアントは、{ $time }まで、またはサインアウトするまで、あなたとして<span class="mono">{ $host }</span>を開くことができます。
client-refused-title = プログラムを拒否しました
client-guessed-title = コードを入力できる回数を超えました
client-guessed-text = 何も開かれていません。アクセスクライアントをもう一度起動し、その画面に表示されるコードを入力してください。
client-lapsed-title = 許可を待つ申請はありません
client-lapsed-text = この申請はすでに回答済みか、失効しています。新しく申請するには、アクセスクライアントをもう一度起動してください。

# Set up
setup-name = セットアップ
setup-step = セットアップ、3段階中{ $step }段階目
zone = ゾーン
administrator = 管理者
first-app = 最初のアプリ
setup-email-title = 管理者を登録してください
setup-email-text = メールアドレスを入力してください。続いて確認コードを入力すると、{ $zone }の最初の管理者になります。
setup-send = 確認コードを受け取る
setup-pin-terminal = <b>{ $email }</b>の確認コードは、エッジを動かしている端末に表示されています。
setup-pin-mail = 8桁の確認コードを<b>{ $email }</b>にお送りしています。
setup-code-label = 確認コード
setup-show-code = 新しいコードを表示する
setup-become = 管理者になる
setup-done-title = 管理者を登録しました
setup-done-text = <b>{ $email }</b>がこのエッジの最初の管理者です。
setup-done-next = 続いて公開してみましょう。公開するサービスがある機器で、アドレスを置き換えて次のように入力してください。
setup-done-hint = コネクターはエッジに向けて接続するため、ポートを開ける必要はありません。ポリシーで許可した方だけが利用できます。
setup-lapsed-title = このセットアップ用リンクは使えません
setup-lapsed-text = すでに使われたか、期限が過ぎています。エッジを動かしている方は、次のコマンドで新しいリンクを表示できます。
no-admin-name = 管理者未登録
no-admin-title = このエッジにはまだ管理者がいません
no-admin-quick = エッジの起動時に端末に表示されたセットアップ用リンクを開いてください。新しいリンクは次のコマンドで表示できます。
no-admin-text = 設定ファイルの<code>[admin] emails</code>にアドレスを追加するか、エッジを動かしている機器で次のコマンドを入力し、セットアップ用リンクを表示してください。

# The launcher
launcher-name = ランチャー
launcher-title = 利用できるアプリケーション
launcher-text = 今お使いの場所から、ポリシーで利用が許可されているアプリケーションの一覧です。
applications = アプリケーション
launcher-search = 検索
launcher-everything = すべて表示する
launcher-none = 利用できるアプリケーションはまだありません
launcher-none-text = { $email }の利用を許可するポリシーがあるアプリケーションが、ここに並びます。お心当たりのものがない場合は、管理者にお問い合わせください。
launcher-not-found = 見つかりません
launcher-not-found-text = 名前またはホスト名に「{ $find }」を含むアプリケーションはありません。
tile-web = ウェブ
tile-tcp = アクセスクライアント
tile-bastion = アクセスクライアント（複数の機器）
tile-away = 現在未接続
tile-command = お使いのパソコンの端末で、アクセスクライアントを使って開きます。PORTは空いているポート番号に置き換えてください。
tile-command-host = お使いのパソコンの端末で、アクセスクライアントを使って開きます。HOST:PORTは接続先とそのポート番号に、最後のPORTはパソコンの空いているポート番号に置き換えてください。
tile-pattern = この形に当てはまるすべてのホスト名が対象です。

# Languages
language-set-title = これからは日本語で表示します
language-set-text = このブラウザーで、このアドレスのページを開くときの言語です。ブラウザーの「戻る」で元のページに戻れます。

# On the way back from signing in
opening-title = { $short }を開いています
opening-text = サインインしました。何も起こらない場合は、ボタンを押してください。
returning-title = アクセスクライアントに戻ります
returning-text = このパソコンのプログラムに回答が届き、自動で先に進みます。何も起こらない場合は、ボタンを押してください。
returning-go = 進む
come-in-title = { $short }にサインインしました
come-in-text = 別のサイトを経由してここに来ました。<span class="mono">{ $host }</span>の次のアドレスを開いてよければ、ボタンを押してください。
signed-in-title = サインインしました
signed-in-text = このブラウザーで、もう一度<span class="mono">{ $host }</span>を開けるようになりました。
signed-in-next = このタブを閉じて、{ $short }を開いているタブで続けてください。

# A form whose session has ended
session-over = 期限切れ
session-other = 別の方
new-tab = 新しいタブで開きます
form-kept-title = セッションが終了しましたが、フォームの内容は残っています
form-kept-text = <span class="mono">{ $host }</span>にはまだ何も送られていません。入力した内容は、このページに残っています。
form-kept-by = <b>{ $email }</b>として入力された内容です。同じアドレスでサインインしてください。
form-kept-first = もう一度サインインしてください。新しいタブで開き、このページはそのまま残ります。
form-kept-then = このページに戻り、フォームをもう一度送ってください。
form-kept-send = もう一度送る
form-kept-leave = このページを閉じると、フォームの内容は失われます。
form-other-title = 別の方が入力したフォームです
form-other-text = このフォームは<b>{ $writer }</b>として入力されましたが、現在は<b>{ $other }</b>でサインインしています。別の方の名前で届かないように、<span class="mono">{ $host }</span>には何も送っていません。
form-other-first = サインアウトして、<b>{ $writer }</b>でサインインしてください。新しいタブで開き、このページはそのまま残ります。
form-lost-title = フォームが届く前にセッションが終了しました
form-lost-text = <span class="mono">{ $host }</span>には何も送られていません。フォームにファイルがあるか、内容が多いため、ここには残せません。
form-lost-out = <span class="mono">{ $host }</span>には何も送られていません。その間にここでサインアウトされたため、どなたのフォームか確認できません。
form-lost-then = このページに戻り、ブラウザーの「戻る」で前のページに戻ってください。多くの場合、入力した内容は残っています。ファイルがあれば選び直してから、フォームを送ってください。

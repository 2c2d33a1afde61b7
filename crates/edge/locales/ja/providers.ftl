# Ways to sign in
or-by-mail = またはメールで
or-another-way = または別の方法で
by-method = { $method }
login-method = サインイン方法
use-another-account = 別のアカウントを使う

# Signing in at a provider does not go on
trouble-name = サインインの中断
trouble-down-title = { $method }から応答がありません
trouble-down-text = サインイン先の{ $method }が停止しているか、応答に時間がかかっています。しばらくしてから、もう一度お試しください。
trouble-down-error = 503（{ $method }から応答なし）
trouble-setup-title = { $method }でのサインインが正しく設定されていません
trouble-setup-text = お使いのアカウントやパソコンに問題はありません。管理者がこのサインイン方法を確認する必要があります。参照番号を管理者にお知らせください。
trouble-setup-error = 502（サインイン方法の設定に問題あり）
trouble-answer-title = { $method }の応答を受け入れられませんでした
trouble-answer-text = 本人であることを確実に確認できなかったため、サインインしていません。もう一度お試しください。繰り返す場合は、管理者による確認が必要です。
trouble-answer-error = 502（サインイン方法の応答を受け入れず）
trouble-again-text = { $method }から返された内容は、このサインインのものではないか、すでに使われています。何も開かれていません。最初からやり直してください。
trouble-again-error = 400（{ $method }の応答はこのサインインのものではない）
trouble-refused-title = { $method }でサインインが完了していません
trouble-refused-text = サインイン先で中止されたか、{ $method }が許可しませんでした。何も開かれていません。意図したものでない場合は、もう一度お試しください。
trouble-refused-error = 403（{ $method }で拒否）
trouble-recent-title = { $method }であらためて本人確認が行われませんでした
trouble-recent-text = この操作にはもう一度サインインが必要ですが、{ $method }からは今サインインしたという応答がありませんでした。もう一度お試しください。繰り返し起こる場合は、管理者による確認が必要です。
trouble-recent-error = 403（{ $method }での新しいサインインなし）
trouble-unverified-title = メールアドレスが{ $method }で確認されていません
trouble-unverified-text = サインイン先でメールアドレスの確認（通常はメール内のリンク）を済ませてから、もう一度サインインしてください。別のアカウントを使うこともできます。
trouble-unverified-error = 403（メールアドレス未確認）
trouble-email-title = { $method }からメールアドレスが伝えられませんでした
trouble-email-text = 非公開ページはメールアドレスに対して開かれます。サインイン先のアカウントにメールアドレスを登録し、伝えることを許可するか、別のアカウントを使ってください。
trouble-email-error = 403（メールアドレスなし）
trouble-account-title = このアカウントは別の組織のものです
trouble-account-text = { $short }を開くには、組織から与えられたアカウントで{ $method }にサインインしてください。
trouble-account-error = 403（別の組織のアカウント）
trouble-much-title = { $method }から伝えられる情報が多すぎます
trouble-much-text = アカウントが非常に多くのグループに属しているか、情報が非常に多くなっています。管理者が伝える内容を減らせます。参照番号を管理者にお知らせください。
trouble-much-error = 403（グループまたはクレームが多すぎます）

# Trying a login method
trial-name = サインイン方法のテスト
trial-ask-title = テストのために{ $method }でサインインしますか
trial-ask-text = 管理者がこのサインイン方法のテストを始めました。テストでは誰もサインインしません。
trial-ask-who = 内容を見る人
trial-ask-who-text = このリンクを表示した端末で、テストを始めた人です。
trial-ask-what = 見える内容
trial-ask-what-text = { $method }から伝えられる、あなたのアカウントの識別子、メールアドレス、グループ、その他の情報です。
trial-ask-careful = ご自分でこのテストを始めた場合か、依頼した人がわかっている場合にだけ進んでください。サインイン先にすでにサインインしていると、確認は表示されません。
trial-ask-go = { $method }へ進む
trial-works-title = { $method }は使えます
trial-works-text = この方法でサインインした人は、以下の内容で識別されます。
trial-refused-title = { $method }では、この内容で誰もサインインできません
trial-refused-text = この方法でサインインした人は拒否されます。理由と、わかった内容は次のとおりです。
trial-issuer = 発行者
trial-subject = サブジェクト
trial-accepted = 信頼する理由
trial-groups = グループ
trial-organization = 組織とチーム
trial-amr = 認証の手段（amr）
trial-none = なし
trial-nobody = このテストでは誰もサインインしていません。端末にも同じ内容が表示されます。このページは閉じてかまいません。
trial-lapsed-title = このテスト用リンクはもう使えません
trial-lapsed-text = リンクは10分以内に1回だけ使えます。<code>edge admin login-method test NAME</code>をもう一度入力して、新しいリンクを表示してください。

leaving-name = { $method }へ移動
leaving-title = { $method }に進みます
leaving-text = そちらでサインインすると、ここに戻ります。
leaving-go = 進む

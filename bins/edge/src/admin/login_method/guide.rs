//! What an administrator does at a provider, in the words of its own pages.

use tunnel_edge::socket::LoginMethodStatus;

use super::Language;

/// The instructions for a method.
pub(super) fn text(method: &LoginMethodStatus, lang: Language) -> String {
    let steps = steps(&method.r#type, lang);
    let mut text = format!("{} ({})\n", method.name, method.r#type);
    let label = |en: &'static str, ja: &'static str| if lang == Language::En { en } else { ja };
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name}: {value}\n"));
    for address in &method.redirect_uris {
        line(label("redirect URI", "リダイレクトURI"), address.clone());
    }
    if let Some(issuer) = &method.issuer {
        line(label("issuer", "発行者"), issuer.clone());
    }
    if let Some(client) = &method.client_id {
        line(label("client id", "クライアントID"), client.clone());
    }
    if !method.scopes.is_empty() {
        line(label("asked for", "要求するスコープ"), method.scopes.join(" "));
    }
    text.push('\n');
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("{}. {step}\n", number.saturating_add(1)));
    }
    if method.r#type == "entra" && method.groups {
        let more = label(
            "Because `groups: true` is declared: under API permissions also add `GroupMember.Read.All` (delegated), and \
             press Grant admin consent.",
            "`groups: true`が宣言されているため、「APIのアクセス許可」で`GroupMember.Read.All`（委任）も追加し、「管理者の同意を与えます」を押します。",
        );
        text.push_str(&format!("{}. {more}\n", steps.len().saturating_add(1)));
    }
    if !method.redirect_uris.is_empty() {
        let end = label("\nThen try it: edge admin login-method test", "\n設定後の確認: edge admin login-method test");
        text.push_str(&format!("{end} {}\n", method.name));
    }
    text
}

fn steps(kind: &str, lang: Language) -> &'static [&'static str] {
    match (kind, lang) {
        ("entra", Language::En) => &[
            "Microsoft Entra admin center → App registrations → New registration. Supported account types: Accounts in this organizational directory only.",
            "Redirect URI: platform Web, and the address above.",
            "Overview: copy Application (client) ID to `client_id` and Directory (tenant) ID to `tenant`.",
            "Certificates & secrets → New client secret: put its Value (not its ID) into a file, and name that as `client_secret: {file: …}`.",
            "API permissions: `openid`, `email`, `profile` and `User.Read` (delegated) are enough; press Grant admin consent.",
            "Token configuration → Add optional claim → ID: `email`, `upn`, `acct`, `auth_time` and `xms_edov`. None can be left out: without `acct`, guests may be taken for members; people need an `email` or a `upn`, since `preferred_username` is not believed; `auth_time` says when somebody signed in. For group rules: Add groups claim → Groups assigned to the application.",
        ],
        ("entra", Language::Ja) => &[
            "Microsoft Entra管理センター →「アプリの登録」→「新規登録」。サポートされているアカウントの種類は「この組織ディレクトリのみに含まれるアカウント」。",
            "リダイレクトURI: プラットフォームは「Web」、アドレスは上記のもの。",
            "「概要」: アプリケーション（クライアント）IDを`client_id`に、ディレクトリ（テナント）IDを`tenant`に書きます。",
            "「証明書とシークレット」→「新しいクライアント シークレット」: 値（IDではなく）をファイルに保存し、`client_secret: {file: …}`で指定します。",
            "「APIのアクセス許可」: `openid`、`email`、`profile`、`User.Read`（委任）で足ります。「管理者の同意を与えます」を押します。",
            "「トークン構成」→「オプションの要求を追加」→「ID」: `email`、`upn`、`acct`、`auth_time`、`xms_edov`。いずれも省けません。`acct`がないと、ゲストがメンバーとみなされることがあります。`preferred_username`は信用されないため、利用者には`email`または`upn`が必要です。`auth_time`はサインインした時刻です。グループの規則には「グループ要求の追加」→「アプリケーションに割り当てられているグループ」。",
        ],
        ("google", Language::En) => &[
            "Google Cloud console → Google Auth Platform → Branding and Audience: choose Internal, if everybody is in your organisation.",
            "Clients → Create client → Web application. Authorized redirect URIs: the address above.",
            "Copy the client ID to `client_id`; put the client secret into a file, and name that as `client_secret: {file: …}`.",
            "Data access: `openid`, `email` and `profile`, none of which need a review.",
            "Declare `hosted_domain: YOUR-DOMAIN`, so that only accounts of your organisation get as far as the policies.",
        ],
        ("google", Language::Ja) => &[
            "Google Cloudコンソール →「Google Auth Platform」→「ブランディング」と「対象」: 全員が組織内なら「内部」を選びます。",
            "「クライアント」→「クライアントを作成」→「ウェブ アプリケーション」。承認済みのリダイレクトURIは上記のアドレス。",
            "クライアントIDを`client_id`に書き、クライアント シークレットをファイルに保存して`client_secret: {file: …}`で指定します。",
            "「データアクセス」: `openid`、`email`、`profile`（いずれも審査は不要）。",
            "`hosted_domain: ドメイン`を宣言すると、組織のアカウントだけがポリシーの判定に進みます。",
        ],
        ("okta", Language::En) => &[
            "Okta Admin Console → Applications → Create App Integration → OIDC, Web Application. Grant type: Authorization Code only.",
            "Sign-in redirect URIs: the address above. Assignments: who may use it.",
            "Copy Client ID to `client_id`; put the secret into a file, and name that as `client_secret: {file: …}`.",
            "`issuer` is the one of the authorization server: `https://ORG.okta.com`, or `https://ORG.okta.com/oauth2/default`.",
            "For group rules: Sign On → OpenID Connect ID Token → Groups claim: name `groups`, and which groups. Declare `scopes: [groups]`.",
        ],
        ("okta", Language::Ja) => &[
            "Okta管理コンソール →「Applications」→「Create App Integration」→「OIDC」「Web Application」。Grant typeは「Authorization Code」のみ。",
            "「Sign-in redirect URIs」は上記のアドレス。「Assignments」で利用者を選びます。",
            "Client IDを`client_id`に書き、シークレットをファイルに保存して`client_secret: {file: …}`で指定します。",
            "`issuer`は認可サーバーのもの: `https://ORG.okta.com`または`https://ORG.okta.com/oauth2/default`。",
            "グループの規則には「Sign On」→「OpenID Connect ID Token」→「Groups claim」: 名前は`groups`、対象のグループを指定し、`scopes: [groups]`を宣言します。",
        ],
        ("keycloak", Language::En) => &[
            "Keycloak admin console, your realm → Clients → Create client: OpenID Connect, and a client ID, which is `client_id`.",
            "Client authentication: on. Authentication flow: Standard flow only.",
            "Valid redirect URIs: exactly the address above, without `*`. Web origins: empty.",
            "Advanced → Proof Key for Code Exchange: S256. Credentials → Client secret: into a file, named as `client_secret: {file: …}`.",
            "`issuer` is `https://HOST/realms/REALM`. People need `Email verified`: realm settings → Login → Verify email, or set it for each.",
            "For group rules: the client's dedicated scope → Add mapper → Group Membership, token claim name `groups`, Full group path off, Add to ID token on.",
        ],
        ("keycloak", Language::Ja) => &[
            "Keycloak管理コンソールの該当レルム →「Clients」→「Create client」: OpenID Connect。Client IDが`client_id`になります。",
            "「Client authentication」はオン。「Authentication flow」は「Standard flow」のみ。",
            "「Valid redirect URIs」は上記のアドレスをそのまま（`*`なし）。「Web origins」は空。",
            "「Advanced」→「Proof Key for Code Exchange」はS256。「Credentials」→「Client secret」をファイルに保存し、`client_secret: {file: …}`で指定します。",
            "`issuer`は`https://HOST/realms/REALM`。利用者には「Email verified」が必要です（レルム設定 →「Login」→「Verify email」、または個別に設定）。",
            "グループの規則には、クライアントの専用スコープ →「Add mapper」→「Group Membership」: Token claim nameは`groups`、「Full group path」はオフ、「Add to ID token」はオン。",
        ],
        ("auth0", Language::En) => &[
            "Auth0 dashboard → Applications → Create Application → Regular Web Application.",
            "Settings → Allowed Callback URLs: the address above. Advanced → Grant Types: Authorization Code only. JSON Web Token Signature Algorithm: RS256.",
            "Copy Client ID to `client_id`; put Client Secret into a file, and name that as `client_secret: {file: …}`.",
            "`issuer` is `https://YOUR-DOMAIN/`, with the slash at its end.",
            "For group rules: an Action on the login flow that sets a claim, such as `https://example.com/groups`; declare its name as `groups_claim`.",
        ],
        ("auth0", Language::Ja) => &[
            "Auth0ダッシュボード →「Applications」→「Create Application」→「Regular Web Application」。",
            "「Settings」→「Allowed Callback URLs」は上記のアドレス。「Advanced」→「Grant Types」は「Authorization Code」のみ。「JSON Web Token Signature Algorithm」はRS256。",
            "Client IDを`client_id`に書き、Client Secretをファイルに保存して`client_secret: {file: …}`で指定します。",
            "`issuer`は`https://ドメイン/`（末尾のスラッシュを含む）。",
            "グループの規則には、ログインフローのActionで`https://example.com/groups`のようなクレームを設定し、その名前を`groups_claim`に宣言します。",
        ],
        ("gitlab", Language::En) => &[
            "GitLab → the group's (or the instance's) Settings → Applications → Add new application.",
            "Redirect URI: the address above. Confidential: yes. Scopes: `openid`, `email`, `profile`.",
            "Copy Application ID to `client_id`; put Secret into a file, and name that as `client_secret: {file: …}`.",
            "For a GitLab of your own, `issuer` is its address: `https://gitlab.example.com`. Groups are told as their full paths.",
        ],
        ("gitlab", Language::Ja) => &[
            "GitLabのグループ（またはインスタンス）の「設定」→「アプリケーション」→「新しいアプリケーションを追加」。",
            "Redirect URIは上記のアドレス。「Confidential」はオン。スコープは`openid`、`email`、`profile`。",
            "アプリケーションIDを`client_id`に書き、シークレットをファイルに保存して`client_secret: {file: …}`で指定します。",
            "自社のGitLabの場合、`issuer`はそのアドレスです（`https://gitlab.example.com`）。グループはフルパスで伝えられます。",
        ],
        ("github", Language::En) => &[
            "GitHub → the organisation's Settings → Developer settings → OAuth apps → New OAuth app (not a GitHub App).",
            "Authorization callback URL: the address above. Device flow: off.",
            "Copy Client ID to `client_id`; generate a client secret, put it into a file, and name that as `client_secret: {file: …}`.",
            "The organisation must let the app see its members: Settings → Third-party access → OAuth app policy → approve it.",
            "People need a verified primary e-mail address. For an enterprise server, declare `authority: https://HOST`.",
        ],
        ("github", Language::Ja) => &[
            "GitHubの組織の「Settings」→「Developer settings」→「OAuth apps」→「New OAuth app」（GitHub Appではありません）。",
            "「Authorization callback URL」は上記のアドレス。「Device flow」はオフ。",
            "Client IDを`client_id`に書き、client secretを生成してファイルに保存し、`client_secret: {file: …}`で指定します。",
            "組織のメンバーを参照できるよう、「Settings」→「Third-party access」→「OAuth app policy」でこのアプリを承認します。",
            "利用者には確認済みのプライマリメールアドレスが必要です。Enterprise Serverの場合は`authority: https://HOST`を宣言します。",
        ],
        ("one_time_pin", Language::En) => &[
            "Nothing has to be set up elsewhere: the edge needs a mail server (`[smtp]` in edge.toml), and people their mailbox.",
        ],
        ("one_time_pin", Language::Ja) => &[
            "他で設定することはありません。エッジにはメールサーバー（edge.tomlの`[smtp]`）、利用者にはメールボックスが必要です。",
        ],
        ("passkey", Language::En) => {
            &["Nothing has to be set up elsewhere: people add a passkey after another login, or by an invitation."]
        }
        ("passkey", Language::Ja) => &[
            "他で設定することはありません。利用者は別の方法でログインした後、または招待により、パスキーを追加します。",
        ],
        (_, Language::En) => &[
            "Register a confidential client (web application) for the authorization code flow with PKCE (S256). Its redirect URI is exactly the address above.",
            "Its ID tokens are signed by RS256, PS256, ES256 or EdDSA; no other algorithm counts.",
            "Copy the client id to `client_id`; put the secret into a file, and name that as `client_secret: {file: …}`.",
            "`issuer` is exactly what stands as `issuer` in ISSUER/.well-known/openid-configuration.",
            "It has to send `email` and `email_verified: true`; declare `authoritative_for: [DOMAIN]` if it is the authority for a domain and sends no such word.",
        ],
        (_, Language::Ja) => &[
            "認可コードフローとPKCE（S256）を使うconfidentialクライアント（Webアプリケーション）を登録します。リダイレクトURIは上記のアドレスをそのまま使います。",
            "IDトークンの署名はRS256、PS256、ES256、EdDSAのいずれかです。それ以外のアルゴリズムは認められません。",
            "クライアントIDを`client_id`に書き、シークレットをファイルに保存して`client_secret: {file: …}`で指定します。",
            "`issuer`は、ISSUER/.well-known/openid-configurationの`issuer`の値そのままです。",
            "`email`と`email_verified: true`が必要です。ドメインの権威であってこの値を送らない場合は`authoritative_for: [ドメイン]`を宣言します。",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::login_method::tests::status;

    #[test]
    fn every_type_has_its_instructions_in_both_languages() {
        for kind in ["oidc", "entra", "google", "okta", "keycloak", "auth0", "gitlab", "github"] {
            for lang in [Language::En, Language::Ja] {
                let text = text(&status(kind), lang);
                for fact in
                    ["https://access.example.com/.access/callback/work", "client_secret: {file: …}", "test work"]
                {
                    assert!(text.contains(fact), "{kind} {lang:?}: {fact}\n{text}");
                }
                assert_eq!(text.contains("GroupMember.Read.All"), kind == "entra", "{text}");
            }
            assert_ne!(steps(kind, Language::En), steps(kind, Language::Ja));
        }
        for kind in ["one_time_pin", "passkey"] {
            let none = LoginMethodStatus { redirect_uris: vec![], ..status(kind) };
            assert!(!text(&none, Language::En).contains("test work"));
        }
    }
}

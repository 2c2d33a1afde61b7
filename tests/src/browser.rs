//! Headless Chromium, driven through playwright-core by a small script over standard input and output.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    Lab, Netns, PATIENCE,
    process::{finish, tool},
};

/// A browser with one page open.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pictures: PathBuf,
}

/// A virtual authenticator of a browser.
#[derive(Debug, PartialEq, Eq)]
pub struct Authenticator(String);

/// How a browser is started.
#[derive(Clone, Debug, Default)]
pub struct BrowserOptions {
    /// The CA it trusts besides the public ones.
    pub ca: Option<String>,
    /// Its language, for example `ja-JP`; English when empty.
    pub language: String,
    /// The address of every `*.example.test`; 127.0.0.1 when empty.
    pub address: String,
    /// Whether pages may run no script.
    pub no_script: bool,
}

impl Browser {
    /// A browser in the lab's own namespace.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start(lab: &Lab, options: BrowserOptions) -> Result<Self> {
        Self::start_in(lab, lab.net(), options).await
    }

    /// A browser in another namespace.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start_in(lab: &Lab, net: &Netns, options: BrowserOptions) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("browser-").tempdir_in(lab.path("."))?.keep();
        if let Some(ca) = &options.ca {
            trust(lab, &home, ca).await?;
        }
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/driver.mjs");
        let mut command: Command = lab.dress(net.command("node"));
        command.arg(driver).env("HOME", &home);
        command.env("PLAYWRIGHT_CORE", tool("node")?.join("node_modules/playwright-core/index.mjs"));
        command.env("AXE_CORE", tool("node")?.join("node_modules/axe-core/axe.min.js"));
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting node")?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let answers = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut browser = Self { _child: child, stdin, answers, pictures: lab.path(".") };
        let language = if options.language.is_empty() { "en-US" } else { &options.language };
        let address = if options.address.is_empty() { "127.0.0.1" } else { &options.address };
        browser
            .tell(json!({"launch": {"profile": home.join("profile"), "language": language, "address": address, "script": !options.no_script}}))
            .await?;
        Ok(browser)
    }

    /// Runs a script with `page`, `context` and `args` in scope (playwright's API), and gives what it returns.
    ///
    /// # Errors
    /// The script threw; the message has the page's address and text.
    pub async fn script(&mut self, script: &str, args: Value) -> Result<Value> {
        self.tell(json!({"script": script, "args": args})).await
    }

    /// Opens an address; gives the status of the last answer.
    ///
    /// # Errors
    /// The browser could not.
    pub async fn open(&mut self, url: &str) -> Result<u64> {
        let status = self.script("const r = await page.goto(args.url); return r ? r.status() : 0", json!({"url": url}));
        status.await?.as_u64().context("a status")
    }

    /// The address shown.
    ///
    /// # Errors
    /// The browser has gone.
    pub async fn url(&mut self) -> Result<String> {
        Ok(self.script("return page.url()", Value::Null).await?.as_str().unwrap_or_default().to_owned())
    }

    /// The words shown.
    ///
    /// # Errors
    /// The browser has gone.
    pub async fn text(&mut self) -> Result<String> {
        let text = self.script("return await page.locator('body').innerText()", Value::Null).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Types into a field.
    ///
    /// # Errors
    /// There is no such field.
    pub async fn fill(&mut self, name: &str, value: &str) -> Result<()> {
        let script = "await page.locator(`[name=\"${args.name}\"]`).first().fill(args.value)";
        self.script(script, json!({"name": name, "value": value})).await.map(|_| ())
    }

    /// Presses the button or link that matches a CSS selector, and waits for the page it leads to.
    ///
    /// # Errors
    /// There is none.
    pub async fn press(&mut self, selector: &str) -> Result<()> {
        let script = "await page.locator(args.selector).first().click(); await page.waitForLoadState('load')";
        self.script(script, json!({"selector": selector})).await.map(|_| ())
    }

    /// Waits until the address shown matches.
    ///
    /// # Errors
    /// It did not in time.
    pub async fn arrives(&mut self, url: &str) -> Result<()> {
        self.script("await page.waitForURL(args.url)", json!({"url": url})).await.map(|_| ())
    }

    /// What the page's console and its content security policy complained about.
    ///
    /// # Errors
    /// The browser has gone.
    pub async fn complaints(&mut self) -> Result<Vec<String>> {
        let complaints = self.script("return complaints", Value::Null).await?;
        Ok(serde_json::from_value(complaints)?)
    }

    /// What axe-core finds wrong with the page as it is shown now, and what it leaves open of contrasts, measured.
    ///
    /// # Errors
    /// It could not look.
    pub async fn audit(&mut self) -> Result<Vec<String>> {
        Ok(serde_json::from_value(self.script("return await audit()", Value::Null).await?)?)
    }

    /// Shows the page in a window of this size, in a theme.
    ///
    /// # Errors
    /// The browser has gone.
    pub async fn show(&mut self, (width, height): (u32, u32), theme: &str) -> Result<()> {
        let script = "await page.setViewportSize({ width: args.width, height: args.height }); \
            await page.emulateMedia({ colorScheme: args.theme })";
        self.script(script, json!({"width": width, "height": height, "theme": theme})).await.map(drop)
    }

    /// Keeps a picture of what is shown, as PNG; of the whole page, however high it is.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn picture(&mut self, file: &std::path::Path) -> Result<()> {
        // From its top, and once it is drawn in its new size: else parts that were out of sight are missing.
        let script = "await page.evaluate(() => new Promise((drawn) => {
                scrollTo(0, 0);
                requestAnimationFrame(() => requestAnimationFrame(drawn));
            }));
            await page.screenshot({ path: args.file, fullPage: true, animations: 'disabled', caret: 'hide' })";
        self.script(script, json!({"file": file})).await.map(drop)
    }

    /// Gives the page's browser an authenticator of its own, as a fingerprint reader in the computer is one, which keeps
    /// passkeys and asks nobody. It answers at once; whether it says that it verified the user is `verified`.
    ///
    /// # Errors
    /// The browser has none to give.
    pub async fn add_authenticator(&mut self, verified: bool) -> Result<Authenticator> {
        let options = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": verified, "automaticPresenceSimulation": true,
        });
        self.devtools("WebAuthn.enable", json!({"enableUI": false})).await?;
        let added = self.devtools("WebAuthn.addVirtualAuthenticator", json!({"options": options})).await?;
        Ok(Authenticator(added["authenticatorId"].as_str().context("an id")?.to_owned()))
    }

    /// The passkeys that an authenticator keeps, as the devtools protocol shows them.
    ///
    /// # Errors
    /// There is no such authenticator.
    pub async fn passkeys(&mut self, authenticator: &Authenticator) -> Result<Vec<Value>> {
        let found = self.devtools("WebAuthn.getCredentials", json!({"authenticatorId": authenticator.0})).await?;
        Ok(found["credentials"].as_array().cloned().unwrap_or_default())
    }

    /// Puts a passkey of [`Browser::passkeys`] into an authenticator, perhaps of another browser: a copy.
    ///
    /// # Errors
    /// There is no such authenticator.
    pub async fn put_passkey(&mut self, authenticator: &Authenticator, passkey: &Value) -> Result<()> {
        let what = json!({"authenticatorId": authenticator.0, "credential": passkey});
        self.devtools("WebAuthn.addCredential", what).await.map(drop)
    }

    /// Whether an authenticator says from now on that it verified the user, by finger or PIN.
    ///
    /// # Errors
    /// There is no such authenticator.
    pub async fn verify_user(&mut self, authenticator: &Authenticator, verified: bool) -> Result<()> {
        let what = json!({"authenticatorId": authenticator.0, "isUserVerified": verified});
        self.devtools("WebAuthn.setUserVerified", what).await.map(drop)
    }

    /// Takes an authenticator away, and its passkeys with it.
    ///
    /// # Errors
    /// There is no such authenticator.
    pub async fn remove_authenticator(&mut self, authenticator: Authenticator) -> Result<()> {
        let what = json!({"authenticatorId": authenticator.0});
        self.devtools("WebAuthn.removeVirtualAuthenticator", what).await.map(drop)
    }

    /// A command of the devtools protocol, to the page. All commands go by one connection, to which what they make belongs.
    async fn devtools(&mut self, command: &str, parameters: Value) -> Result<Value> {
        let script = "globalThis.devtools ??= await context.newCDPSession(page); \
            return await globalThis.devtools.send(args.command, args.parameters)";
        self.script(script, json!({"command": command, "parameters": parameters})).await
    }

    async fn tell(&mut self, what: Value) -> Result<Value> {
        self.stdin.write_all(format!("{what}\n").as_bytes()).await?;
        let answer = timeout(PATIENCE * 2, self.answers.next_line()).await.context("the browser does not answer")??;
        let answer: Value = serde_json::from_str(&answer.context("the browser has gone")?)?;
        if let Some(error) = answer["error"].as_str() {
            bail!("browser at {}: {error}\n{}\n(in {})", answer["url"], answer["text"], self.pictures.display());
        }
        Ok(answer["result"].clone())
    }
}

/// Puts a CA among those that a browser with this home directory trusts, rather than switching its checks off.
async fn trust(lab: &Lab, home: &std::path::Path, ca: &str) -> Result<()> {
    let db = home.join(".pki/nssdb");
    fs::create_dir_all(&db)?;
    let file = home.join("ca.pem");
    fs::write(&file, ca)?;
    let db = format!("sql:{}", db.display());
    let file = file.to_string_lossy();
    for args in [&["-N", "--empty-password"][..], &["-A", "-n", "lab", "-t", "C,,", "-i", &file]] {
        let mut certutil = lab.command("certutil");
        certutil.args(["-d", &db]).args(args);
        let finished = finish(certutil).await?;
        ensure!(finished.code == 0, "certutil: {}", finished.said());
    }
    Ok(())
}

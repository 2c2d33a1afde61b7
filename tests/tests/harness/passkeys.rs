//! The browser's virtual authenticator makes passkeys and uses them.

use serde_json::{Value, json};
use tunnel_tests::{Browser, browser::BrowserOptions, origin::Nginx, run};

const CREATE: &str = "return await page.evaluate(async () => {
  const made = await navigator.credentials.create({ publicKey: {
    rp: { id: 'localhost', name: 'Here' }, user: { id: new Uint8Array([1, 2, 3]), name: 'ann', displayName: 'Ann' },
    challenge: new Uint8Array(32), pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
  } });
  return made.id;
})";
const USE: &str = "return await page.evaluate(async () => {
  const found = await navigator.credentials.get({ publicKey: {
    rpId: 'localhost', challenge: new Uint8Array(32), userVerification: 'required', timeout: 2000,
  } }).catch((error) => ({ id: error.name }));
  return found.id;
})";

#[test]
fn an_authenticator_makes_a_passkey_and_signs_with_it() {
    run("passkeys", async |lab| {
        let _nginx = Nginx::start(&lab, 80, "<h1>Here</h1>").await?;
        let mut browser = Browser::start(&lab, BrowserOptions::default()).await?;
        browser.open("http://localhost/").await?;
        let authenticator = browser.add_authenticator(true).await?;
        assert!(browser.passkeys(&authenticator).await?.is_empty());
        let made = browser.script(CREATE, Value::Null).await?;
        assert_eq!(browser.script(USE, Value::Null).await?, made);
        let passkeys = browser.passkeys(&authenticator).await?;
        let [passkey] = passkeys.as_slice() else { panic!("one passkey: {passkeys:?}") };
        assert_eq!((&passkey["rpId"], &passkey["isResidentCredential"]), (&json!("localhost"), &json!(true)));
        // Somebody else at the keyboard.
        browser.verify_user(&authenticator, false).await?;
        assert_eq!(browser.script(USE, Value::Null).await?, "NotAllowedError");
        // A copy in another authenticator is as good, which is why counters are looked at.
        browser.remove_authenticator(authenticator).await?;
        let other = browser.add_authenticator(true).await?;
        assert_eq!(browser.script(USE, Value::Null).await?, "NotAllowedError");
        browser.put_passkey(&other, passkey).await?;
        assert_eq!(browser.script(USE, Value::Null).await?, made);
        Ok(())
    });
}

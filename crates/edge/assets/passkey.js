// Passkeys: asks the edge what to ask, has the browser ask it, and brings the answer back. A form with `data-passkey` logs
// in, one with `data-passkey-add` makes a passkey; every word that is shown comes from the page or the edge.
'use strict';
(() => {
  const LOGIN = { begin: '/.access/passkey/options', finish: '/.access/callback/passkey' };
  const ADD = { begin: '/.access/passkey/register/options', finish: '/.access/passkey/register' };

  const bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const text = (buffer) => {
    const binary = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join('');
    return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  };

  // What the edge writes as text, as browsers want it.
  const decoded = (options) => {
    options.challenge = bytes(options.challenge);
    if (options.user) options.user.id = bytes(options.user.id);
    for (const held of [...(options.excludeCredentials ?? []), ...(options.allowCredentials ?? [])]) {
      held.id = bytes(held.id);
    }
    return options;
  };

  // What the browser answers, as the edge reads it.
  const encoded = (credential) => {
    const parts = ['attestationObject', 'authenticatorData', 'clientDataJSON', 'signature', 'userHandle'];
    const there = parts.filter((part) => credential.response[part]);
    return {
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      response: Object.fromEntries(there.map((part) => [part, text(credential.response[part])])),
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  };

  const post = async (form, path, body) => {
    const answer = await fetch(path, {
      method: 'POST',
      headers: {
        'Accept': 'application/json',
        'Content-Type': 'application/json',
        'X-Form-Token': form.elements.form_token.value,
      },
      body: JSON.stringify(body),
    });
    const said = await answer.json();
    if (!answer.ok) throw { problem: said };
    return said;
  };

  const run = async (form) => {
    const login = form.hasAttribute('data-passkey');
    const way = login ? LOGIN : ADD;
    const fields = Object.fromEntries(new FormData(form));
    delete fields.form_token;
    const { challenge, options } = await post(form, way.begin, fields);
    const asked = { publicKey: decoded(options) };
    const credential = await (login ? navigator.credentials.get(asked) : navigator.credentials.create(asked));
    const { next } = await post(form, way.finish, { ...fields, challenge, credential: encoded(credential) });
    location.assign(next);
  };

  const tell = (form, words, problem) => {
    const line = document.createElement('p');
    line.className = 'error';
    line.textContent = words;
    if (problem?.link) {
      const link = document.createElement('a');
      link.href = problem.link;
      link.textContent = problem.link_text;
      line.append(' ', link);
    }
    form.querySelector('[role=status]').replaceChildren(line);
  };

  // The browser says the same when somebody thinks better of it, when time is over, and when there is no passkey.
  const WORDS = { NotAllowedError: 'cancelled', AbortError: 'cancelled', InvalidStateError: 'known' };

  for (const form of document.querySelectorAll('form[data-passkey], form[data-passkey-add]')) {
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const button = form.querySelector('button');
      if (!window.PublicKeyCredential) return tell(form, form.dataset.missing);
      button.disabled = true;
      form.querySelector('[role=status]').replaceChildren();
      try {
        await run(form);
      } catch (error) {
        const problem = error?.problem;
        tell(form, problem?.message ?? form.dataset[WORDS[error?.name] ?? 'broken'], problem);
      } finally {
        button.disabled = false;
      }
    });
  }
})();

// A certified OpenID provider for tests. The first line of standard input is its configuration as JSON; each line after it
// is a command, `{"id": N, "do": NAME, …}`, answered by a line `done N JSON` on standard output. The harness writes both.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const { default: Provider } = await import(process.env.OIDC_PROVIDER);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const config = JSON.parse((await lines.next()).value);
const issuer = `http://127.0.0.1:${config.port}${config.path}`;
const prefix = config.path.replace(/\/$/, '');
const hanging = new Set();
const delays = new Map();
const cookieKeys = [randomUUID()];

// What the provider remembers, outside of it: with other keys it is another one, and remembers the same.
const memory = new Map();
class Memory {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model} ${id}`; }
  first(same) { return [...memory].find(([key, value]) => key.startsWith(`${this.model} `) && same(value))?.[1]; }
  async upsert(id, payload) { memory.set(this.key(id), payload); }
  async find(id) { return memory.get(this.key(id)); }
  async findByUid(uid) { return this.first((value) => value.uid === uid); }
  async findByUserCode(code) { return this.first((value) => value.userCode === code); }
  async consume(id) { memory.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { memory.delete(this.key(id)); }
  async revokeByGrantId(id) {
    for (const [key, value] of memory) if (value.grantId === id) memory.delete(key);
  }
}

let keys = [newKey(config.algorithm)];
let provider = newProvider();

function newKey(algorithm) {
  const kinds = { ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
  const [kind, options] = kinds[algorithm] ?? ['rsa', { modulusLength: 2048 }];
  return { ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig' };
}

// A provider with the keys of now.
function newProvider() {
  const fresh = new Provider(issuer, {
    adapter: Memory,
    clients: [{
      client_id: config.client_id,
      client_secret: config.client_secret,
      redirect_uris: config.redirect_uris,
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: config.client_authentication,
      id_token_signed_response_alg: config.algorithm,
    }],
    clientAuthMethods: [config.client_authentication],
    jwks: { keys },
    scopes: ['openid', 'offline_access', ...config.scopes],
    claims: config.claims,
    conformIdTokenClaims: config.claims_by_userinfo,
    enabledJWA: { idTokenSigningAlgValues: [config.algorithm] },
    pkce: { required: () => true },
    // Each refresh token counts once: who uses one twice loses what was granted.
    rotateRefreshToken: true,
    features: { devInteractions: { enabled: false } },
    interactions: { url: (ctx, interaction) => `${prefix}/interaction/${interaction.uid}` },
    // Providers on other ports of this address have cookies of their own.
    cookies: {
      keys: cookieKeys,
      names: { interaction: `_i${config.port}`, resume: `_r${config.port}`, session: `_s${config.port}` },
    },
    loadExistingGrant,
    async findAccount(ctx, accountId) {
      const account = config.accounts[accountId];
      return account && { accountId, claims: async () => ({ ...account.claims, sub: accountId }) };
    },
    renderError(ctx, out) {
      ctx.type = 'html';
      ctx.body = page(`<h1>The provider cannot go on</h1><p>${escape(out.error)}</p><p>${escape(out.error_description ?? '')}</p>`);
    },
    ttl: { Session: 3600, Interaction: 3600, Grant: 3600, AccessToken: 3600, IdToken: 3600 },
  });
  for (const event of ['authorization.error', 'grant.error', 'server_error', 'userinfo.error']) {
    fresh.on(event, (ctx, error) => console.error(`${event}: ${error.message} ${error.error_description ?? ''} ${error.error_detail ?? ''}`));
  }
  return fresh;
}

// Nobody is asked for consent unless the configuration says so.
async function loadExistingGrant(ctx) {
  const { client, session, result } = ctx.oidc;
  const id = result?.consent?.grantId || session.grantIdFor(client.clientId);
  const found = id && await ctx.oidc.provider.Grant.find(id);
  if (found || config.consent) return found || undefined;
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(ctx.oidc.params.scope);
  await grant.save();
  return grant;
}

const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const page = (body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Provider</title><body>${body}</body></html>`;

function say(res, status, html) {
  res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(page(html));
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text;
}

async function interact(req, res) {
  const { prompt, params, grantId, session } = await provider.interactionDetails(req, res);
  const finish = (result, merge = true) => provider.interactionFinished(req, res, result, { mergeWithLastSubmission: merge });
  const buttons = (yes) => `<button name="answer" value="${yes}">Go on</button><button name="answer" value="refuse">Refuse</button>`;
  const ask = (status, text) => say(res, status, prompt.name === 'login'
    ? `<h1>Who are you?</h1><p>${text}</p><form method="post"><input name="account" autocomplete="off">${buttons('login')}</form>`
    : `<h1>May ${escape(params.client_id)} know you?</h1><form method="post">${buttons('allow')}</form>`);
  if (req.method !== 'POST') return ask(200, '');
  const form = new URLSearchParams(await body(req));
  if (form.get('answer') === 'refuse') {
    return finish({ error: 'access_denied', error_description: 'the person refused' }, false);
  }
  if (prompt.name === 'login') {
    const accountId = form.get('account') ?? '';
    if (!Object.hasOwn(config.accounts, accountId)) return ask(403, 'There is no such account.');
    return finish({ login: { accountId, amr: config.accounts[accountId].amr } }, false);
  }
  const grant = grantId ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  // Nothing is missing where only the question was asked for.
  const missing = prompt.details.missingOIDCScope ?? [];
  if (missing.length) grant.addOIDCScope(missing.join(' '));
  grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
  return finish({ consent: { grantId: await grant.save() } });
}

async function serve(req, res) {
  const { pathname } = new URL(req.url, issuer);
  const path = pathname.startsWith(prefix) ? pathname.slice(prefix.length) : undefined;
  console.log(`request ${req.method} ${pathname}`);
  const held = [...hanging].some((end) => pathname.endsWith(end));
  if (held) return undefined;
  for (const [end, delay] of delays) {
    if (pathname.endsWith(end)) await new Promise((resolve) => { setTimeout(resolve, delay); });
  }
  if (path === undefined) return say(res, 404, 'Nothing is here.');
  if (path.startsWith('/interaction/')) return interact(req, res);
  req.originalUrl = req.url;
  req.url = req.url.slice(prefix.length);
  return provider.callback()(req, res);
}

// What Microsoft Graph answers to the question of whose groups do not fit into a token.
async function graph(req, res) {
  console.log(`graph ${req.method} ${req.url}`);
  const answer = (status, value) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  if (hanging.has('graph')) return undefined;
  if (hanging.has('graph-error')) return answer(503, { error: { code: 'serviceNotAvailable' } });
  if (req.method !== 'POST' || req.url !== '/v1.0/me/getMemberObjects') return answer(404, { error: { code: 'itemNotFound' } });
  const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1];
  const found = token && await provider.AccessToken.find(token);
  if (!found) return answer(401, { error: { code: 'InvalidAuthenticationToken' } });
  let asked;
  try { asked = JSON.parse(await body(req)); } catch { asked = undefined; }
  if (typeof asked?.securityEnabledOnly !== 'boolean') return answer(400, { error: { code: 'BadRequest' } });
  return answer(200, { '@odata.context': 'getMemberObjects', value: config.accounts[found.accountId].member_of });
}

function listen(port, handler) {
  const server = createServer((req, res) => handler(req, res).catch((error) => {
    console.error(`fault at ${req.url}: ${error.stack}`);
    if (!res.headersSent) say(res, 400, `<h1>The provider cannot go on</h1><p>${escape(error.message)}</p>`);
  }));
  return new Promise((resolve) => { server.listen(port, '127.0.0.1', () => resolve(server)); });
}

let server = await listen(config.port, serve);
if (config.graph_port) await listen(config.graph_port, graph);

const commands = {
  rotate({ keep }) {
    const fresh = newKey(config.algorithm);
    keys = keep ? [fresh, ...keys] : [fresh];
    provider = newProvider();
    return keys.map((key) => key.kid);
  },
  async stop() {
    await new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
  },
  async start() { server = await listen(config.port, serve); },
  hang({ path }) { hanging.add(path); },
  delay({ path, ms }) { delays.set(path, ms); },
  // What was printed before has arrived once this is answered.
  mark() {},
  recover() { hanging.clear(); delays.clear(); },
  account({ name, account }) { config.accounts[name] = account; },
  disable({ name }) { delete config.accounts[name]; },
};

console.log('listening');
for await (const line of lines) {
  const command = JSON.parse(line);
  console.log(`done ${command.id} ${JSON.stringify(await commands[command.do](command) ?? null)}`);
}
process.exit(0);

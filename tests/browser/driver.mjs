// Drives one Chromium page: a JSON line in, a JSON line out. `{launch}` first, then `{script, args}`.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const { chromium } = await import(process.env.PLAYWRIGHT_CORE);
const Script = Object.getPrototypeOf(async () => {}).constructor;
const complaints = [];
let context, page;

// What axe-core finds wrong with the page as it is shown now.
async function audit() {
  await page.evaluate(readFileSync(process.env.AXE_CORE, 'utf8'));
  return await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { preload: false, resultTypes: ['violations'] });
    return violations.map((v) => `${v.id} (${v.help}): ${v.nodes.map((node) => node.html).join(' ')}`);
  });
}

async function launch({ profile, language, address, script }) {
  context = await chromium.launchPersistentContext(profile, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    locale: language,
    javaScriptEnabled: script,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', `--host-resolver-rules=MAP *.example.test ${address}`,
    ],
  });
  context.setDefaultTimeout(25000);
  page = context.pages()[0] ?? await context.newPage();
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) complaints.push(m.text()); });
  page.on('pageerror', (e) => complaints.push(String(e)));
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  let answer;
  try {
    if (told.launch) {
      await launch(told.launch);
      answer = { result: null };
    } else {
      const result = await new Script('page', 'context', 'args', 'complaints', 'audit', told.script)(page, context, told.args, complaints, audit);
      answer = { result: result ?? null };
    }
  } catch (error) {
    const text = page ? await page.locator('body').innerText({ timeout: 1000 }).catch(() => '') : '';
    answer = { error: String(error), url: page?.url() ?? '', text };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
await context?.close();

// Drives one Chromium page: a JSON line in, a JSON line out. `{launch}` first, then `{script, args}`.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const { chromium } = await import(process.env.PLAYWRIGHT_CORE);
const Script = Object.getPrototypeOf(async () => {}).constructor;
const complaints = [];
let context, page;

// What axe-core finds wrong with the page as it is shown now. Where it leaves the contrast of a text open, because what is
// behind it has a gradient, is drawn by a pseudo element or lies in another part, that is measured here: against the ground
// and every colour that a gradient above it has, the worst counts. A text whose ground cannot be told is a finding, too.
async function audit() {
  await page.evaluate(readFileSync(process.env.AXE_CORE, 'utf8'));
  return await page.evaluate(async () => {
    const { violations, incomplete } = await globalThis.axe.run(document, { preload: false, resultTypes: ['violations', 'incomplete'] });
    const found = violations.map((v) => `${v.id} (${v.help}): ${v.nodes.map((node) => node.html).join(' ')}`);
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    // The colour that a screen shows when these lie on each other, the lowest first.
    const shown = (...colors) => {
      canvas.clearRect(0, 0, 1, 1);
      for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (color) => {
      const [r, g, b] = color.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
      const [less, more] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (more + 0.05) / (less + 0.05);
    };
    const colors = /(?:rgba?|hsla?|hwb|lab|lch|oklab|oklch|color)\([^()]*\)|#[0-9a-f]{3,8}\b/gi;
    const measure = (element) => {
      const [own, above] = [getComputedStyle(element), []];
      for (let at = element; at; at = at.parentElement) {
        const style = getComputedStyle(at);
        if (style.opacity !== '1') return 'is translucent';
        if (/url\(/.test(style.backgroundImage)) return 'lies on a picture';
        above.push(...(style.backgroundImage.match(colors) ?? []));
        if (shown(style.backgroundColor)[3] === 255) {
          const grounds = [shown(style.backgroundColor), ...above.map((color) => shown(style.backgroundColor, color))];
          const size = parseFloat(own.fontSize);
          const least = size >= 24 || (size >= 18.66 && Number(own.fontWeight) >= 700) ? 3 : 4.5;
          const worst = Math.min(...grounds.map((ground) => ratio(shown(`rgb(${ground.slice(0, 3)})`, own.color), ground)));
          return worst < least ? `has a contrast of ${worst.toFixed(2)}, not ${least}` : null;
        }
        if (shown(style.backgroundColor)[3] !== 0) above.push(style.backgroundColor);
      }
      return 'has no ground';
    };
    for (const node of incomplete.filter((rule) => rule.id === 'color-contrast').flatMap((rule) => rule.nodes)) {
      const element = node.target.length === 1 ? document.querySelector(node.target[0]) : null;
      const wrong = element ? measure(element) : 'is not found again';
      if (wrong) found.push(`color-contrast (left open, measured): ${node.html} ${wrong}`);
    }
    return found;
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

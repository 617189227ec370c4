/** The status page in a browser: it updates itself, also for a screen reader, and fits every window. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page as Tab } from 'playwright-core'
import { until } from '../support/until.ts'
import { needsBrowser, openBrowser } from './browser.ts'
import { type Page, pod, refusal, SNAPSHOT, servePage } from './dashboard-fixture.ts'

const PATIENCE = { timeout: 60_000 }

describe('the status page in a browser', needsBrowser(), () => {
  let browser: Browser
  let page: Page
  before(async () => {
    browser = await openBrowser()
  })
  after(() => browser?.close())

  type Options = NonNullable<Parameters<Browser['newContext']>[0]>
  const inTab = async (options: Options & { mayComplain?: boolean }, work: (tab: Tab) => Promise<void>) => {
    page = await servePage()
    const { mayComplain = false, ...contextOptions } = options
    const context = await browser.newContext(contextOptions)
    const tab = await context.newPage()
    const complaints: string[] = []
    const requests: string[] = []
    tab.on('console', (message) => complaints.push(message.text()))
    tab.on('pageerror', (error) => complaints.push(error.message))
    tab.on('request', (request) => requests.push(request.url()))
    try {
      await tab.goto(page.url)
      if (options.javaScriptEnabled !== false) await tab.getByText('Updates automatically.').waitFor(PATIENCE)
      await work(tab)
      if (!mayComplain) assert.deepEqual(complaints, [])
      assert.deepEqual(
        requests.filter((url) => !url.startsWith(page.url) && !url.startsWith('data:')),
        [],
        'no request goes elsewhere',
      )
    } finally {
      await context.close()
      await page.close()
    }
  }

  test('replaces what changes, announces it to a screen reader in one sentence, and counts the nodes with problems in the title', () =>
    inTab({}, async (tab) => {
      assert.equal(await tab.title(), 'pod2iam: 2 nodes with problems')
      page.set({ ...SNAPSHOT, pods: [pod('shop', 'newcomer-1')], refusals: [] })
      await tab.getByRole('cell', { name: 'newcomer-1', exact: true }).waitFor(PATIENCE)
      await tab.getByText('Nothing is refused.').waitFor(PATIENCE)
      const status = tab.getByRole('status')
      assert.equal(await status.getAttribute('aria-live'), 'polite')
      assert.equal(
        await status.textContent(),
        '2 nodes with problems, 0 pods without credentials, 0 refusals',
      )
      page.set({ ...SNAPSHOT, nodes: [] })
      await until(async () => (await tab.title()) === 'pod2iam')
    }))

  test('can be used by keyboard: the first Tab offers to skip to the content, the focus is visible, and an update keeps it', () =>
    inTab({}, async (tab) => {
      await tab.keyboard.press('Tab')
      const focused = () => tab.evaluate<string>('document.activeElement.textContent')
      assert.equal(await focused(), 'Skip to the content')
      const link = tab.getByRole('link', { name: 'shop', exact: true })
      await link.focus()
      await tab.keyboard.press('Shift+Tab')
      await tab.keyboard.press('Tab')
      assert.notEqual(await tab.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'none')
      page.set({ ...SNAPSHOT, pods: [...(SNAPSHOT.pods ?? []), pod('shop', 'newcomer-1')] })
      await tab.getByRole('cell', { name: 'newcomer-1', exact: true }).waitFor(PATIENCE)
      assert.equal(await focused(), 'shop')
    }))

  test('does not update a selected text until it is no longer selected', () =>
    inTab({}, async (tab) => {
      const command = 'pod2iam -n shop explain invoices-5b1c'
      await tab.getByText(command).selectText()
      page.set({ ...SNAPSHOT, refusals: [refusal('web', 'other')], pods: [pod('shop', 'newcomer-1')] })
      await tab.getByRole('cell', { name: 'newcomer-1', exact: true }).waitFor(PATIENCE)
      assert.equal(await tab.evaluate('String(getSelection())'), command)
      await tab.evaluate('getSelection().removeAllRanges()')
      await tab.getByText('pod2iam -n web explain other').waitFor(PATIENCE)
    }))

  test('has landmarks, one main heading and tables with headers for a screen reader', () =>
    inTab({}, async (tab) => {
      for (const role of ['banner', 'main', 'contentinfo', 'search'] as const)
        assert.equal(await tab.getByRole(role).count(), 1, role)
      assert.equal(await tab.getByRole('heading', { level: 1 }).count(), 1)
      assert.deepEqual(await tab.getByRole('heading', { level: 2 }).allTextContents(), [
        'Nodes',
        'Refusals',
        'Pods and their roles',
        'Audit',
      ])
      const bare = await tab.evaluate(
        "document.querySelectorAll('th:not([scope]), input:not(label *), select:not(label *)').length",
      )
      assert.equal(bare, 0, 'headers without a scope, and fields without a label')
      assert.equal(await tab.getByRole('columnheader', { name: 'Expire' }).count(), 1)
      assert.equal(await tab.getByRole('rowheader', { name: 'shop-orders' }).count(), 1)
    }))

  test('has filters that change its address and can be cleared', () =>
    inTab({}, async (tab) => {
      await tab.getByLabel('Namespace').fill('reports')
      await tab.getByLabel('Show').selectOption('everything')
      await tab.getByRole('button', { name: 'Filter' }).click()
      await tab.getByText('Updates automatically.').waitFor(PATIENCE)
      assert.equal(new URL(tab.url()).searchParams.get('namespace'), 'reports')
      assert.equal(await tab.getByRole('cell', { name: 'orders-7d9f' }).count(), 0)
      await tab.getByRole('link', { name: 'Clear filters' }).click()
      await tab.getByRole('cell', { name: 'orders-7d9f', exact: true }).waitFor(PATIENCE)
      await tab.getByRole('link', { name: /^ip-10-0-0-13/ }).click()
      await tab.getByText('Updates automatically.').waitFor(PATIENCE)
      assert.match(tab.url(), /[?]node=ip-10-0-0-13/)
    }))

  test('works without JavaScript, and says that it must be reloaded', () =>
    inTab({ javaScriptEnabled: false }, async (tab) => {
      await tab.getByText('Reload to update.').waitFor(PATIENCE)
      page.set({ ...SNAPSHOT, pods: [pod('shop', 'newcomer-1')] })
      await until(async () => {
        await tab.reload()
        return (await tab.getByRole('cell', { name: 'newcomer-1', exact: true }).count()) > 0
      })
    }))

  test('says when the program does not answer any more, and keeps what it shows', () =>
    inTab({ mayComplain: true }, async (tab) => {
      await page.close()
      await tab.getByText('No longer updated: pod2iam dashboard does not answer.').waitFor(PATIENCE)
      assert.equal(await tab.getByRole('cell', { name: 'orders-7d9f', exact: true }).count(), 1)
    }))

  for (const colorScheme of ['light', 'dark'] as const)
    for (const width of [320, 1280])
      test(`cuts nothing off and has enough contrast in a ${colorScheme} window of ${width} pixels`, () =>
        inTab({ colorScheme, viewport: { width, height: 800 } }, async (tab) => {
          const cut = await tab.evaluate<number>('document.documentElement.scrollWidth - innerWidth')
          assert.ok(cut <= 0, `${cut} pixels beside the window`)
          const faint = await tab.evaluate(FAINT)
          assert.deepEqual(faint, [])
          const color = await tab.evaluate<string>('getComputedStyle(document.body).backgroundColor')
          const [red = 0] = (color.match(/\d+/g) ?? []).map(Number)
          assert.equal(red < 128, colorScheme === 'dark')
        }))
})

/** Runs in the page, and returns the texts whose contrast to their background is below 4.5 (WCAG 2.2, 1.4.3). */
const FAINT = `
{
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((one) => {
      const part = one / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (element === null) return [255, 255, 255];
    const color = parse(getComputedStyle(element).backgroundColor);
    return color[3] === 0 ? behind(element.parentElement) : color;
  };
  const hasText = (element) => [...element.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim() !== '');
  [...document.body.querySelectorAll(':not(script, option)')].filter(hasText).flatMap((element) => {
    const [one, other] = [parse(getComputedStyle(element).color), behind(element)].map(luminance).sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    return contrast < 4.5 ? [contrast.toFixed(2) + ': ' + element.textContent.trim().slice(0, 60)] : [];
  });
}`

/** The status page over HTTP, for a given cluster: what it shows, whom it serves, and how it treats text of others. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { expiries } from '../../cli/dashboard/expiries.ts'
import { until } from '../support/until.ts'
import { ask, NOW, node, type Page, pod, refusal, SNAPSHOT, servePage } from './dashboard-fixture.ts'

/** The text of the markup, as a reader sees it. */
const words = (markup: string) =>
  markup
    .replace(/<(script|style)>.*?<\/\1>/gs, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
const part = (markup: string, id: string) =>
  new RegExp(`<section id="${id}".*?</section>`, 's').exec(markup)?.[0] ?? assert.fail(`no section ${id}`)

describe('the status page', () => {
  let page: Page
  before(async () => {
    page = await servePage()
  })
  after(() => page.close())
  const get = async (query = '') => (await ask(page.url + query)).body

  test('shows the block and the broker of each node, with problems first, and what is wrong', async () => {
    const nodes = part(await get(), 'nodes')
    const tiles = [...nodes.matchAll(/<li class="tile (\w+)">(.*?)<\/li>/gs)].map(([, tone, text = '']) =>
      `${tone}: ${words(text)}`.replaceAll('.eu-west-1.compute.internal', ''),
    )
    assert.deepEqual(
      tiles.map((one) =>
        /^(\w+:) +(ip\S+) .*?Block (.*?) Broker (.*?) Refused/.exec(one)?.slice(1).join(' '),
      ),
      [
        'bad: ip-10-0-0-13 ✖ not blocked ✖ not ready',
        'bad: ip-10-0-0-16 ✖ not blocked ✖ not ready',
        'good: ip-10-0-0-11 ✔ blocked (nft) ✔ ready',
        'good: ip-10-0-0-12 ✔ blocked (iptables-nft) ✔ ready',
        'warning: ip-10-0-0-14 ! audit only ✔ ready',
        'unknown: ip-10-0-0-15 ? not asked ✔ ready',
      ],
    )
    assert.match(words(nodes), /✖ guard-missing it has no node guard/)
    assert.match(words(nodes), /Injectors: 2 of 1\.2\.0; node guards: 5 of 1\.2\.0/)
  })

  test('shows the pods on the host network that use the metadata service, with those that may not first', async () => {
    assert.doesNotMatch(await get(), /On the host network/)
    const lastSeen = new Date(NOW - 5 * 60_000).toISOString()
    const pods = [
      { namespace: 'kube-system', name: 'aws-node-x1', allowed: true, packets: 3, lastSeen },
      { namespace: 'legacy', name: 'scraper<b>', allowed: false, packets: 7, lastSeen },
    ]
    const packets = { allowed: 3, others: 7, unknown: 0 }
    const hostNetwork = { mode: 'audit', backend: 'nft', verified: true, repairs: 0, packets, pods } as const
    const own = await servePage({ ...SNAPSHOT, nodes: [node('ip-10-0-0-11', { hostNetwork })] })
    try {
      const seen = words(part((await ask(own.url)).body, 'nodes'))
      assert.match(
        seen,
        /On the host network .* scraper&lt;b&gt; legacy ip-10-0-0-11 ! not allowed 7 5 min ago aws-node-x1 kube-system ip-10-0-0-11 ✔ allowed 3 5 min ago/,
      )
    } finally {
      await own.close()
    }
  })

  test('shows the pods by namespace and role with state, expiry and session', async () => {
    const pods = words(part(await get(), 'pods'))
    assert.match(
      pods,
      /shop 3 pods, 1 without credentials .*shop-invoices invoices-5b1c ✖ role-not-allowed none none/,
    )
    assert.match(
      pods,
      /shop-orders orders-7d9f ✔ has credentials in 43 min shop\.orders-7d9f .* orders-8c2a ✔ has credentials ! in 3 min/,
    )
    assert.match(pods, /no role: only Region and placement metadata ✔ not needed never/)
    assert.match(pods, /by default front-1 ! waiting not asked/)
  })

  test('shows each refusal with its object, the sentence, the remedy, and the command for more', async () => {
    const refusals = words(part(await get(), 'refusals'))
    assert.match(refusals, /shop\/invoices-5b1c Pod ✖ role-not-allowed 4 min ago namespace shop may not use/)
    assert.match(refusals, /Remedy: let the namespace list the role pod2iam -n shop explain invoices-5b1c/)
    assert.match(refusals, /web\/api-6f ReplicaSet ✖ pods-refused 11 min ago a pod on the host network/)
  })

  test('shows for audit which workload uses the metadata service in which way, and what to do', async () => {
    const audit = words(part(await get(), 'audit'))
    assert.match(audit, /Deployment\/importer legacy directly 118 5 h ago 2 min ago it names no role/)
    assert.match(audit, /1 node in audit mode; 5 others were not asked/)
  })

  test('filters by the address: namespace, node, role as a glob, or only problems, which the form keeps', async () => {
    const shown = async (query: string, id: string) => words(part(await get(query), id))
    assert.doesNotMatch(await shown('?namespace=reports', 'pods'), /orders|front-1/)
    assert.match(await shown('?namespace=reports', 'pods'), /nightly-x1/)
    assert.match(await shown('?namespace=reports', 'refusals'), /Nothing is refused/)
    assert.doesNotMatch(await shown('?role=shop-o*', 'pods'), /nightly|invoices/)
    assert.match(await shown('?role=shop-o*', 'pods'), /orders-7d9f.*orders-8c2a/)
    const host = 'ip-10-0-0-12.eu-west-1.compute.internal'
    assert.match(await shown(`?node=${host}`, 'nodes'), /ip-10-0-0-12/)
    assert.doesNotMatch(await shown(`?node=${host}`, 'nodes'), /ip-10-0-0-11/)
    assert.doesNotMatch(await shown(`?node=${host}`, 'pods'), /orders-7d9f/)
    assert.doesNotMatch(await shown('?state=trouble', 'nodes'), /ip-10-0-0-11/)
    assert.doesNotMatch(await shown('?state=trouble', 'pods'), /orders-7d9f/)
    const body = await get('?namespace=shop&state=trouble&unknown=1')
    assert.match(body, /<input\s+name="namespace"\s+value="shop"/)
    assert.match(body, /<option value="trouble" selected>/)
    assert.match(body, /href="\.\/\?namespace=shop&amp;node=[^"]+&amp;state=trouble"/)
  })

  test('accepts only its own address as Host, so that no foreign name leads to it', async () => {
    const { port } = new URL(page.url)
    for (const own of [`127.0.0.1:${port}`, `localhost:${port}`, `LOCALHOST:${port}`])
      assert.equal((await ask(page.url, { host: own })).status, 200, own)
    for (const foreign of [
      'evil.example',
      `evil.example:${port}`,
      '127.0.0.1',
      '127.0.0.1:1',
      `127.0.0.1.evil.example:${port}`,
    ])
      for (const path of ['', 'live', 'nothing']) {
        const { status, body } = await ask(page.url + path, { host: foreign })
        assert.equal(status, 403, `${foreign} ${path}`)
        assert.equal(body, `This page is only served under its own address; open ${page.url}.\n`)
      }
  })

  test('refuses a request that another page makes by itself, but not a link in it, by Origin and Fetch Metadata', async () => {
    const said = { origin: page.url.slice(0, -1), 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors' }
    assert.equal((await ask(page.url, said)).status, 200)
    const refused: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
      { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
    ]
    for (const headers of refused)
      for (const path of ['', 'live']) {
        const { status, body, headers: sent } = await ask(page.url + path, headers)
        assert.equal(status, 403, JSON.stringify(headers))
        assert.equal(body, `Other web pages may not read this one; open ${page.url} yourself.\n`)
        assert.equal(sent['access-control-allow-origin'], undefined)
      }
    const link = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    }
    assert.equal((await ask(page.url, link)).status, 200)
  })

  test('allows only GET', async () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD']) {
      const { status, headers } = await ask(page.url, {}, method)
      assert.deepEqual([status, headers.allow], [405, 'GET'], method)
    }
    assert.equal((await ask(`${page.url}etc/passwd`)).status, 404)
  })

  test('has a content security policy that allows only its own script and style, by their hashes', async () => {
    const { headers, body } = await ask(page.url)
    const policy = String(headers['content-security-policy'])
    const hashed = (tag: string) => {
      const text = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(body)?.[1] ?? ''
      return `${tag}-src 'sha256-${createHash('sha256').update(text).digest('base64')}'`
    }
    assert.deepEqual(policy.split('; '), [
      "default-src 'none'",
      hashed('script'),
      hashed('style'),
      ...[
        "connect-src 'self'",
        'img-src data:',
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
      ],
    ])
    assert.equal(body.match(/<script/g)?.length, 1)
    assert.doesNotMatch(body, /\son\w+=|\sstyle=|(?:src|href)="(?:https?:)?\/\//)
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['cross-origin-resource-policy'], 'same-origin')
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal((await ask(`${page.url}nothing`)).headers['content-security-policy'], policy)
  })
})

test('names, annotations, sentences and the query are shown as text, not as markup', async () => {
  const evil = `"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202egnp.exe\u0000&amp;`
  const page = await servePage({
    ...SNAPSHOT,
    context: evil,
    nodes: [node(evil, { troubles: [{ code: evil, detail: evil }], backend: evil, version: evil })],
    versions: { injector: { [evil]: 1 }, nodeGuard: {}, sidecars: { [evil]: 2 } },
    pods: [pod(evil, evil, { role: evil, session: evil, node: evil }), pod('shop', 'b', { refused: evil })],
    refusals: [refusal(evil, evil, { kind: evil, code: evil, detail: evil, remedy: evil, command: evil })],
    audit: {
      ...{ auditing: 1, others: 0 },
      seen: [
        {
          workload: { namespace: evil, kind: evil, name: evil },
          ...{
            addresses: [evil],
            nodes: [evil],
            via: 'direct',
            packets: 1,
            firstSeen: null,
            lastSeen: new Date(NOW).toISOString(),
          },
          todo: { code: evil, detail: evil },
        },
      ],
    },
    refused: [{ verb: 'list', resource: 'pods', namespace: evil }],
    faults: [{ code: evil, message: evil, remedy: evil }],
  })
  try {
    const query = `?namespace=${encodeURIComponent(evil)}`
    for (const body of [
      (await ask(page.url)).body,
      (await ask(page.url + query)).body,
      await firstUpdate(page.url),
    ]) {
      assert.ok(/&lt;script&gt;alert\(1\)/.test(body), 'it is shown as text')
      assert.ok(!/<script>alert|<img/.test(body), 'foreign markup')
      assert.ok(!/\u202e|\0/.test(body), 'invisible characters')
    }
  } finally {
    await page.close()
  }
})

test('no response contains a secret, even where somebody wrote one into a name or a sentence', async () => {
  const secrets = [
    ['AKIA', 'IOSFODNN7EXAMPLE'].join(''),
    ['ASIA', 'IOSFODNN7EXAMPLE'].join(''),
    `eyJhbGciOiJSUzI1NiJ9.${'a'.repeat(40)}.${'b'.repeat(40)}`,
    'somebody:password',
  ] as const
  const text = `it quotes ${secrets.slice(0, 3).join(' and ')} and https://${secrets[3]}@api.example/`
  const page = await servePage({
    ...SNAPSHOT,
    refusals: [refusal('shop', 'orders', { detail: text })],
    faults: [{ code: 'api-server-failed', message: text, remedy: 'try again' }],
  })
  try {
    for (const body of [(await ask(page.url)).body, await firstUpdate(page.url)]) {
      assert.match(
        body,
        /it quotes \(left out\) and \(left out\) and \(left out\) and https:\/\/\(left out\)@api\.example/,
      )
      for (const secret of secrets) assert.ok(!body.includes(secret), secret)
    }
  } finally {
    await page.close()
  }
})

test('updates arrive as events after each read of the cluster, with the filter of the address', async () => {
  const page = await servePage()
  try {
    const updates = await follow(`${page.url}live?namespace=shop`)
    const first = await until(() => updates.all[0])
    assert.deepEqual(Object.keys(first.sections), [
      'when',
      'summary',
      'nodes',
      'refusals',
      'pods',
      'audit',
      'limits',
    ])
    assert.doesNotMatch(first.sections.pods ?? '', /nightly/)
    assert.equal(first.words, '2 nodes with problems, 1 pod without credentials, 1 refusal')
    page.set({ ...SNAPSHOT, pods: [pod('shop', 'newcomer-1')], refusals: [] })
    await until(() => updates.all.some(({ sections }) => /newcomer-1/.test(sections.pods ?? '')))
    await updates.end()
  } finally {
    await page.close()
  }
})

test('more than thirty-two windows are refused, and closed ones do not count', async () => {
  const page = await servePage()
  try {
    const open = async () => {
      const updates = await follow(`${page.url}live`)
      await until(() => updates.all[0])
      return updates
    }
    const windows = []
    for (let count = 0; count < 32; count++) windows.push(await open())
    const refused = await ask(`${page.url}live`)
    assert.deepEqual(
      [refused.status, refused.body],
      [503, 'This page is open in too many windows; close some.\n'],
    )
    for (const one of windows) await one.end()
    await until(async () => {
      const { status, body } = await fetch(`${page.url}live`)
      await body?.cancel()
      return status === 200
    })
  } finally {
    await page.close()
  }
})

test('an unreachable cluster is reported together with what was read before, if anything', async () => {
  const page = await servePage(new Error('connect ECONNREFUSED'))
  try {
    const first = words((await ask(page.url)).body)
    assert.match(first, /✖ cluster-unreachable connect ECONNREFUSED \. Remedy: try again/)
    assert.match(first, /Nothing has been read yet/)
    page.set(SNAPSHOT)
    await until(async () => /orders-7d9f/.test((await ask(page.url)).body))
    page.set(new Error('connect ECONNREFUSED'))
    const later = await until(async () => {
      const { body } = await ask(page.url)
      return /cluster-unreachable/.test(body) && body
    })
    assert.match(words(later), /as of 12:00:00 UTC/)
    assert.match(words(later), /orders-7d9f/)
  } finally {
    await page.close()
  }
})

test('missing permissions are listed, and the rest is shown', async () => {
  const page = await servePage({
    ...SNAPSHOT,
    ...{ nodes: null, refusals: null, audit: null },
    refused: [
      { verb: 'list', resource: 'nodes' },
      { verb: 'list', resource: 'events', namespace: 'shop' },
    ],
  })
  try {
    const shown = words((await ask(page.url)).body)
    assert.match(
      shown,
      /Not shown, because you lack these permissions list nodes in all namespaces list events in namespace shop/,
    )
    assert.match(shown, /The nodes could not be read/)
    assert.match(shown, /orders-7d9f/)
  } finally {
    await page.close()
  }
})

test('a cluster with thousands of pods gives a page of bounded size, which says how many it leaves out', async () => {
  const many = Array.from({ length: 5000 }, (_, index) => pod('shop', `worker-${index}`))
  const page = await servePage({ ...SNAPSHOT, pods: many })
  try {
    const { body } = await ask(page.url)
    assert.match(words(body), /500 of 5000 pods are shown; use the filters above to find the others/)
    assert.ok(body.length < 600_000, `${body.length} characters`)
  } finally {
    await page.close()
  }
})

test('the cluster is read only while somebody watches, and a slow read is followed by a longer pause', async () => {
  let looks = 0
  const { createFeed } = await import('../../cli/dashboard/feed.ts')
  let time = 0
  const feed = createFeed({
    look: async () => {
      looks++
      time += 1000
      return SNAPSHOT
    },
    faultOf: () => ({ code: '', message: '', remedy: '' }),
    intervalMs: 10,
    clock: () => time,
  })
  await feed.latest(1000)
  await Promise.all([feed.latest(1000), feed.latest(1000)])
  assert.equal(looks, 1)
  time += 2999
  await feed.latest(1000)
  assert.equal(looks, 1, 'a read of one second is followed by a pause of three')
  time += 1
  await Promise.all([feed.latest(1000), feed.latest(1000)])
  assert.equal(looks, 2, 'a request during a read waits for the same read')
  feed.close()
})

test('fifty of many sidecars are asked in one read, beginning with those never asked, and their answers are cached', () => {
  const many = Array.from({ length: 120 }, (_, index) => ({
    metadata: { namespace: 'shop', name: `p-${index}` },
  }))
  const memory = expiries()
  const answers = new Set<string>()
  for (const look of [1, 2, 3]) {
    const due = memory.due(many, look * 1000)
    assert.equal(due.size, look < 3 ? 50 : 20)
    const names = [...due].map(({ metadata }) => metadata?.name ?? '')
    for (const name of names) assert.ok(!answers.has(name), `${name} is asked again before others were`)
    for (const name of names) answers.add(name)
    const asked = names.map((name) => pod('shop', name, { expires: `answered in read ${look}` }))
    const others = many
      .map(({ metadata: { name } }) => name)
      .filter((name) => !names.includes(name))
      .map((name) => memory.recall(pod('shop', name, { expires: null, isAsked: false })))
    assert.equal(others.filter(({ expires }) => expires !== null).length, answers.size - names.length)
    memory.remember(asked, others, look * 1000)
  }
  assert.equal(memory.due(many, 4000).size, 0)
  assert.equal(memory.due(many, 61_000).size, 50, 'after a minute they are asked again')
})

type Update = { readonly sections: Readonly<Record<string, string>>; readonly words: string }

/** Reads the stream of events as they arrive. */
async function follow(url: string) {
  const ended = new AbortController()
  const response = await fetch(url, { signal: ended.signal })
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  const all: Update[] = []
  const reading = (async () => {
    let text = ''
    for await (const chunk of response.body ?? assert.fail('no body')) {
      text += Buffer.from(chunk).toString('utf8')
      const events = text.split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        if (data !== undefined) all.push(JSON.parse(data))
      }
    }
  })().catch(() => undefined)
  return {
    all,
    async end() {
      ended.abort()
      await reading
    },
  }
}

async function firstUpdate(url: string): Promise<string> {
  const updates = await follow(`${url}live`)
  const { sections } = await until(() => updates.all[0])
  await updates.end()
  return Object.values(sections).join('\n')
}

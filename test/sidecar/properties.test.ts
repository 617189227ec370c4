/** Properties of path, host, header and token parsing, on random input. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Headers as OurHeaders } from '../../sidecar/http/web.ts'
import { hostAllowed } from '../../sidecar/imds/host.ts'
import { matchesRole } from '../../sidecar/imds/iam.ts'
import { MAX_TARGET, parseTarget } from '../../sidecar/imds/target.ts'
import { MAX_TOKEN_TTL, parseTtl, SessionTokens } from '../../sidecar/imds/tokens.ts'
import { listing, metadataTree } from '../../sidecar/imds/tree.ts'
import { VERSIONS } from '../../sidecar/imds/versions.ts'

const segment = fc.stringMatching(/^[a-z0-9._-]{1,12}$/)
const path = fc.array(segment, { minLength: 1, maxLength: 6 })
const url = (rest: string) => `http://169.254.169.254${rest}`
const bytes = (maxLength: number, minLength = 0) => fc.uint8Array({ minLength, maxLength })

describe('a request target', () => {
  test('made from any text is parsed or refused, without an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ maxLength: 300 }), fc.string({ unit: 'binary', maxLength: 300 })),
        (text) => {
          const result = parseTarget(url(`/${text}`))
          if (result.ok) {
            assert.match(result.target.path, /^\//)
            assert.doesNotMatch(result.target.path, /\/\//)
            assert.ok(result.target.path === '/' || !result.target.path.endsWith('/'))
            assert.doesNotMatch(result.target.path, /[\u0000-\u001f\u007f]/)
          } else assert.ok([400, 404, 414].includes(result.status))
        },
      ),
    )
  })

  test('is the same path however many slashes are between and after its segments', () => {
    fc.assert(
      fc.property(
        path,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 3 }),
        (segments, between, behind) => {
          const plain = parseTarget(url(`/latest/${segments.join('/')}`))
          const sloppy = parseTarget(
            url(
              `${'/'.repeat(between)}latest${'/'.repeat(between)}${segments.join('/'.repeat(between))}${'/'.repeat(behind)}`,
            ),
          )
          assert.ok(plain.ok && sloppy.ok)
          assert.equal(sloppy.target.path, plain.target.path)
          assert.equal(sloppy.target.slash, behind > 0)
        },
      ),
    )
  })

  test('is the same path when it is percent-encoded once, but not twice', () => {
    const encodeAll = (text: string) =>
      [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
    fc.assert(
      fc.property(path, (segments) => {
        const text = `/latest/${segments.join('/')}`
        const [plain, once, twice] = [text, encodeAll(text), encodeAll(text).replaceAll('%', '%25')].map(
          (rest) => parseTarget(url(`/${rest}`)),
        )
        assert.ok(plain?.ok && once?.ok && twice?.ok)
        assert.equal(once.target.path, plain.target.path)
        assert.notEqual(twice.target.path, plain.target.path)
      }),
    )
  })

  test('under a listed version is the same path as under latest', () => {
    fc.assert(
      fc.property(fc.constantFrom(...VERSIONS), path, (version, segments) => {
        const [dated, latest] = [version, 'latest'].map((first) =>
          parseTarget(url(`/${first}/${segments.join('/')}`)),
        )
        assert.ok(dated?.ok && latest?.ok)
        assert.equal(dated.target.path, latest.target.path)
        assert.equal(dated.target.version, version)
      }),
    )
  })

  test('longer than the limit is 414, whatever its characters', () => {
    fc.assert(
      fc.property(fc.constantFrom('a', '/', '%41', '?'), (unit) => {
        const result = parseTarget(url(`/${unit.repeat(MAX_TARGET)}`))
        assert.deepEqual([result.ok, !result.ok && result.status], [false, 414])
      }),
    )
  })

  test('never gets its authority from the path', () => {
    fc.assert(
      fc.property(path, (segments) => {
        const text = `/latest/http://evil.example/${segments.join('/')}`
        assert.equal(parseTarget(url(text)).authority, '169.254.169.254')
      }),
    )
  })
})

const NAMES = ['instance-data', 'instance-data.ec2.internal', 'instance-data.eu-west-1.compute.internal']

describe('a Host', () => {
  const good = ['169.254.169.254', '[fd00:ec2::254]', '127.0.0.1', '[::1]', 'localhost']

  test('is refused unless it is a name of EC2, the metadata service’s address or loopback', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ minLength: 1 }),
          fc.domain(),
          fc.ipV4(),
          fc.ipV6(),
          fc.ipV6().map((text) => `[${text}]`),
        ),
        (text) => {
          const bare = text.toLowerCase().replace(/^\[|\]$/g, '')
          const means = (name: string) => URL.parse(`http://${name}/`)?.hostname ?? ''
          const ours = [text, bare, `[${bare}]`, `[${bare.replace(/:\d{0,5}$/, '')}]`].map(means)
          fc.pre(!ours.some((name) => good.includes(name) || /^127\.|^\[::ffff:(7f|a9fe)/.test(name)))
          assert.equal(hostAllowed(text), false)
        },
      ),
    )
  })

  test('that a web page can have is refused, also if it begins or ends like an allowed one', () => {
    fc.assert(
      fc.property(fc.constantFrom(...good, ...NAMES), fc.domain(), (ours, theirs) => {
        const label = ours.replace(/[[\]:]/g, '')
        for (const name of [`${label}.${theirs}`, `${theirs}.${label}`, `${label}${theirs}`, theirs])
          assert.equal(hostAllowed(name), false, name)
      }),
    )
  })

  test('with a name of EC2 is allowed in upper and lower case, with and without the root dot', () => {
    fc.assert(
      fc.property(fc.constantFrom(...NAMES), fc.boolean(), fc.boolean(), (name, upper, dot) => {
        assert.ok(hostAllowed((upper ? name.toUpperCase() : name) + (dot ? '.' : '')))
      }),
    )
  })

  test('with an allowed name is allowed with any port, and not with other text around it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...good),
        fc.integer({ min: 1, max: 65535 }),
        fc.stringMatching(/^[a-z]{1,8}$/),
        (name, port, extra) => {
          assert.ok(hostAllowed(`${name}:${port}`))
          for (const wrong of [
            `${name}.${extra}`,
            `${extra}.${name}`,
            `${extra}@${name}`,
            `${name}/${extra}`,
          ])
            assert.equal(hostAllowed(wrong), false)
        },
      ),
    )
  })
})

describe('headers', () => {
  const name = fc
    .stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,15}$/)
    .filter((text) => !/^set-cookie2?$|^cookie$/i.test(text))
  const value = fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/)

  test('behave like the standard Headers for random names and values', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (pairs) => {
        const ours = new OurHeaders(pairs)
        const standard = new Headers(pairs as [string, string][])
        for (const [key] of pairs) {
          assert.equal(ours.get(key.toUpperCase()), standard.get(key))
          assert.equal(ours.has(key), standard.has(key))
        }
        assert.deepEqual(new Map(ours), new Map(standard))
      }),
    )
  })
})

const now = fc.integer({ min: 1_700_000_000_000, max: 4_000_000_000_000 })

describe('a session token', () => {
  const key = bytes(32, 32)
  const ttl = fc.integer({ min: 1, max: MAX_TOKEN_TTL })

  /** The object that issued the token has it in memory, and one after a restart has only the key: both must agree. */
  const both = (secret: Uint8Array, maker: SessionTokens) => [maker, new SessionTokens(secret)]

  test('is valid for the requested lifetime and not a second longer', () => {
    fc.assert(
      fc.property(key, now, ttl, (secret, time, seconds) => {
        const maker = new SessionTokens(secret)
        const token = maker.issue(seconds, time)
        assert.match(token, /^[A-Za-z0-9_-]{54}==$/)
        // Each twice, since the second result comes from memory.
        for (const tokens of [...both(secret, maker), ...both(secret, maker)]) {
          assert.equal(tokens.lifetime(token, time), seconds)
          assert.equal(tokens.lifetime(token, time), seconds)
          assert.equal(tokens.lifetime(token, time + seconds * 1000), undefined)
        }
      }),
    )
  })

  test('is still valid after hundreds of others were issued', () => {
    const tokens = new SessionTokens(new Uint8Array(32))
    const made = Array.from({ length: 300 }, (_, index) => tokens.issue(index + 1, 2_000_000_000_000))
    for (const [index, token] of made.entries())
      assert.equal(tokens.lifetime(token, 2_000_000_000_000), index + 1)
  })

  test('is not valid with another key', () => {
    fc.assert(
      fc.property(key, key, now, (one, other, time) => {
        fc.pre(Buffer.compare(one, other) !== 0)
        assert.equal(
          new SessionTokens(other).lifetime(new SessionTokens(one).issue(60, time), time),
          undefined,
        )
      }),
    )
  })

  test('is not valid with any one character changed', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_='
    fc.assert(
      fc.property(key, now, fc.nat(55), fc.constantFrom(...alphabet), (secret, time, at, character) => {
        const tokens = new SessionTokens(secret)
        const token = tokens.issue(60, time)
        fc.pre(token[at] !== character)
        const altered = token.slice(0, at) + character + token.slice(at + 1)
        assert.equal(tokens.lifetime(altered, time), undefined)
        assert.equal(tokens.lifetime(altered, time), undefined)
      }),
    )
  })

  test('has only one spelling, since the spare bits of its last character must be zero', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    fc.assert(
      fc.property(key, now, fc.integer({ min: 1, max: 15 }), (secret, time, spare) => {
        const tokens = new SessionTokens(secret)
        const token = tokens.issue(60, time)
        const other = alphabet[alphabet.indexOf(token[53] ?? '') + spare]
        const alias = `${token.slice(0, 53)}${other}==`
        assert.deepEqual(Buffer.from(alias, 'base64url'), Buffer.from(token, 'base64url'))
        assert.equal(tokens.lifetime(alias, time), undefined)
      }),
    )
  })

  test('is not any other text', () => {
    fc.assert(
      fc.property(key, fc.string(), now, (secret, text, time) =>
        assert.equal(new SessionTokens(secret).lifetime(text, time), undefined),
      ),
    )
  })

  test('has a lifetime from 1 to 21600, given in digits', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer().map(String), fc.string()), (text) => {
        const good = /^\+?\d+$/.test(text) && Number(text) >= 1 && Number(text) <= 21_600 && text.length <= 11
        assert.equal(parseTtl(text), good ? Number(text) : undefined)
      }),
    )
  })
})

describe('the signature at the end of a session token', () => {
  const signed = 8
  const mac = (key: Uint8Array, message: Uint8Array) => createHmac('sha256', key).update(message).digest()

  test('is the HMAC-SHA256 of the bytes before it, as node:crypto computes it, for keys of any length', () => {
    fc.assert(
      fc.property(bytes(150), now, (key, time) => {
        const tokens = new SessionTokens(key)
        // The second token shows that the first did not change the keyed state.
        for (let count = 0; count < 2; count++) {
          const all = Buffer.from(tokens.issue(60, time), 'base64url')
          assert.deepEqual(all.subarray(signed), mac(key, all.subarray(0, signed)))
        }
      }),
      { numRuns: 500 },
    )
  })

  test('is accepted if node:crypto computed it, and not with a changed bit', () => {
    fc.assert(
      fc.property(bytes(64, 32), bytes(3, 3), now, (key, nonce, time) => {
        const head = Buffer.alloc(signed)
        head[0] = 1
        head.writeUInt32BE(Math.floor(time / 1000) + 60, 1)
        head.set(nonce, 5)
        const token = (end: Uint8Array) => `${Buffer.concat([head, end]).toString('base64url')}==`
        const end = mac(key, head)
        assert.equal(new SessionTokens(key).lifetime(token(end), time), 60)
        end[0] = (end[0] ?? 0) ^ 1
        assert.equal(new SessionTokens(key).lifetime(token(end), time), undefined)
      }),
    )
  })
})

describe('the tree', () => {
  test('lists every leaf that it serves and serves every leaf that it lists', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          path.map((segments) => segments.join('/')),
          fc.string(),
        ),
        (flat) => {
          const tree = metadataTree(new Map(Object.entries(flat)))
          const walk = (directory: string): string[] =>
            (tree.children(directory) ?? []).flatMap((name) =>
              name.endsWith('/') ? walk(`${directory}/${name.slice(0, -1)}`) : [`${directory}/${name}`],
            )
          const listed = walk('').sort()
          for (const leaf of listed) assert.notEqual(tree.leaf(leaf), undefined)
          const forbidden = /^(?:iam|identity-credentials|user-data|dynamic\/instance-identity)(?:\/|$)/
          const served = Object.keys(flat).filter((key) => !forbidden.test(key))
          assert.ok(
            served.every((key) =>
              listed.includes(key.startsWith('dynamic/') ? `/${key}` : `/meta-data/${key}`),
            ),
          )
          assert.ok(!listing(tree.children('') ?? []).endsWith('\n'))
        },
      ),
    )
  })

  test('never serves credentials, user data or signatures, even if a snapshot has them', () => {
    const never = fc.constantFrom(
      'iam/info',
      'iam/security-credentials/x',
      'identity-credentials/ec2/info',
      'user-data',
      'dynamic/instance-identity/pkcs7',
      'dynamic/instance-identity/signature',
      'dynamic/instance-identity/document/x',
    )
    fc.assert(
      fc.property(never, (key) => {
        const tree = metadataTree(new Map([[key, 'secret']]))
        assert.equal(tree.children(''), undefined)
        assert.equal(tree.leaf(`/meta-data/${key}`) ?? tree.leaf(`/${key}`), undefined)
      }),
    )
  })
})

describe('a role name', () => {
  test('means the role only if it is one of its spellings', () => {
    const arn = 'arn:aws:iam::111111111111:role/team/reader'
    const right = ['reader', 'team/reader', arn]
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.constantFrom(...right),
          fc.constantFrom('team', '/reader', 'reader/', 'role/team/reader', ''),
        ),
        (text) => {
          assert.equal(matchesRole(text, ['team/reader', arn, undefined]), right.includes(text))
        },
      ),
    )
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRoleArn } from '../../common/role.ts'
import { parseSessionPolicies } from '../../common/session-policies.ts'

const role = (() => {
  const parsed = parseRoleArn('arn:aws:iam::111111111111:role/pods/app')
  return parsed.ok ? parsed.role : assert.fail()
})()
const own = (name: string) => `arn:aws:iam::111111111111:policy/${name}`
const read = (value: unknown, of: typeof role | null = role) => {
  const parsed = parseSessionPolicies(
    typeof value === 'string' ? value : JSON.stringify(value),
    of ?? undefined,
  )
  return parsed.ok ? parsed.arns : parsed.detail
}

test('policies of the role’s account and of AWS are read in their order, also with a path or a comma in the name', () => {
  for (const arns of [
    [own('reader')],
    [own('b'), own('a')],
    ['arn:aws:iam::aws:policy/service-role/AmazonS3ReadOnlyAccess', own('a/b/c,d+e=f@g.h_i-j')],
    Array.from({ length: 10 }, (_, index) => own(`p${index}`)),
    [own('x'.repeat(128))],
  ])
    assert.deepEqual(read(arns), arns)
  assert.deepEqual(read(` [ "${own('a')}" ] `), [own('a')])
})

const WRONG: [what: string, value: unknown, reason: RegExp][] = [
  ['a bare ARN', own('a'), /must be a JSON array of managed policy ARNs such as \["arn:/],
  ['a list with commas', `${own('a')},${own('b')}`, /must be a JSON array/],
  ['an empty text', '', /must be a JSON array/],
  ['an object', {}, /must be a JSON array/],
  ['a number in it', [own('a'), 1], /must be a JSON array/],
  ['a nested list', [[own('a')]], /must be a JSON array/],
  ['JSON with text after it', `["${own('a')}"] x`, /must be a JSON array/],
  ['an empty list, which would not narrow the session', [], /must name 1 to 10 .* not 0.*all rights/],
  [
    'a list of eleven',
    Array.from({ length: 11 }, (_, index) => own(`p${index}`)),
    /must name 1 to 10 .* not 11/,
  ],
  ['a list with a policy twice', [own('a'), own('b'), own('a')], /names "arn:.*policy\/a" twice/],
  ['a role', [role.arn], /which is not a managed policy ARN/],
  ['an empty name', [own('')], /is not a managed policy ARN/],
  ['an empty part of a path', [own('a//b')], /is not a managed policy ARN/],
  ['a name of 129 characters', [own('x'.repeat(129))], /is not a managed policy ARN/],
  ['a variable which the kubelet expands', [own('$(X)')], /is not a managed policy ARN/],
  ['an ARN with white space around it', [` ${own('a')}`], /is not a managed policy ARN/],
  ['a line feed at the end', [`${own('a')}\n`], /is not a managed policy ARN/],
  ['a wildcard', [own('*')], /is not a managed policy ARN/],
  ['an ARN in upper case', [own('a').toUpperCase()], /is not a managed policy ARN/],
  ['an inline policy', [{ Statement: [] }], /must be a JSON array/],
  [
    'a policy of another account',
    ['arn:aws:iam::222222222222:policy/a'],
    /neither in the account of role "arn:/,
  ],
  ['a policy of another partition', ['arn:aws-cn:iam::aws:policy/a'], /nor AWS's own there/],
  ['a list longer than AWS takes', [own('x'.repeat(100)), 'y'.repeat(2000)], /longer than 2048 characters/],
]

for (const [what, value, reason] of WRONG)
  test(`${what} is refused with the reason`, () => assert.match(String(read(value)), reason))

test('the account of a policy is not checked while the role is unknown', () => {
  assert.deepEqual(read(['arn:aws-cn:iam::222222222222:policy/a'], null), [
    'arn:aws-cn:iam::222222222222:policy/a',
  ])
})

test('a hostile text is parsed in less than a second', () => {
  const began = performance.now()
  for (const text of ['a/'.repeat(900), 'a'.repeat(2000), '['.repeat(2048)]) read([own(text)], null)
  read('['.repeat(2048))
  assert.ok(performance.now() - began < 1000)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { conditionHolds } from './condition.ts'
import { arnMatches, globMatches } from './iam-glob.ts'
import type { PolicyDocument, Statement } from './model.ts'
import { allowAssume, denyAssume, trust } from './policies.ts'
import { type Caller, mayActOnRole } from './policy.ts'
import { checkIdentityStatements, checkTrustPolicy } from './policy-check.ts'

const ACCOUNT = '111111111111'
const OTHER = '222222222222'
const NODE = `arn:aws:iam::${ACCOUNT}:role/nodes/node`
const SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/node/i-1`
const APP = `arn:aws:iam::${ACCOUNT}:role/app`
const FAR = `arn:aws:iam::${OTHER}:role/app`
const ROOT = `arn:aws:iam::${ACCOUNT}:root`

const caller = (...statements: Statement[]): Caller => ({
  arn: SESSION,
  account: ACCOUNT,
  roleArn: NODE,
  statements,
  sessionPolicy: undefined,
})

function may(who: Caller, role: string, trustPolicy: PolicyDocument, action = 'sts:AssumeRole'): boolean {
  return mayActOnRole(who, { arn: role, account: role.split(':')[4] ?? '', trustPolicy }, action, new Map())
}

const deny = (policy: PolicyDocument): PolicyDocument => ({
  Statement: [...policy.Statement, { Effect: 'Deny', Principal: '*', Action: 'sts:*' }],
})

const rows: [string, boolean, Caller, string, PolicyDocument][] = [
  [
    'the trust policy names its role, without an identity policy',
    true,
    caller(),
    APP,
    trust({ principal: NODE }),
  ],
  ['the trust policy names its session', true, caller(), APP, trust({ principal: SESSION })],
  ['the trust policy names everybody', true, caller(), APP, trust({ principal: '*' })],
  ['only the trust policy names its account', false, caller(), APP, trust({ principal: ROOT })],
  [
    'the trust policy names its account and its identity policy allows it',
    true,
    caller(allowAssume(APP)),
    APP,
    trust({ principal: ROOT }),
  ],
  [
    'the trust policy names its account id',
    true,
    caller(allowAssume(APP)),
    APP,
    trust({ principal: ACCOUNT }),
  ],
  [
    'its identity policy allows only another role',
    false,
    caller(allowAssume(`${APP}2`)),
    APP,
    trust({ principal: ROOT }),
  ],
  [
    'its identity policy allows it with a wildcard',
    true,
    caller(allowAssume(`arn:aws:iam::*:role/a?p`)),
    APP,
    trust({ principal: ROOT }),
  ],
  [
    'the trust policy names another role',
    false,
    caller(allowAssume('*')),
    APP,
    trust({ principal: `${NODE}2` }),
  ],
  [
    'the trust policy names another account',
    false,
    caller(allowAssume('*')),
    APP,
    trust({ principal: OTHER }),
  ],
  [
    'the trust policy names its role without the path',
    false,
    caller(allowAssume('*')),
    APP,
    trust({ principal: NODE.replace('nodes/', '') }),
  ],
  ['only the trust policy of another account allows it', false, caller(), FAR, trust({ principal: NODE })],
  [
    'only the trust policy of another account allows it, for everybody',
    false,
    caller(),
    FAR,
    trust({ principal: '*' }),
  ],
  [
    'its identity policy and the trust policy of another account allow it',
    true,
    caller(allowAssume(FAR)),
    FAR,
    trust({ principal: NODE }),
  ],
  [
    'its identity policy denies what the trust policy allows',
    false,
    caller(denyAssume(APP)),
    APP,
    trust({ principal: NODE }),
  ],
  [
    'its identity policy both allows and denies it',
    false,
    caller(allowAssume('*'), denyAssume('*app')),
    APP,
    trust({ principal: NODE }),
  ],
  [
    'the trust policy both allows and denies it',
    false,
    caller(allowAssume('*')),
    APP,
    deny(trust({ principal: NODE })),
  ],
  ['the trust policy has no statements', false, caller(allowAssume('*')), APP, { Statement: [] }],
  [
    'the trust policy names only a service',
    false,
    caller(allowAssume('*')),
    APP,
    {
      Statement: [{ Effect: 'Allow', Principal: { Service: 'ec2.amazonaws.com' }, Action: 'sts:AssumeRole' }],
    },
  ],
]

for (const [name, wanted, who, role, trustPolicy] of rows)
  test(`a caller ${wanted ? 'may' : 'may not'} assume the role if ${name}`, () => {
    assert.equal(may(who, role, trustPolicy), wanted)
  })

test('a session policy narrows what the role may do, and never widens it', () => {
  const narrowed = (policy: Statement) => ({ ...caller(allowAssume('*')), sessionPolicy: [policy] })
  assert.equal(may(narrowed(allowAssume(APP)), APP, trust({ principal: ROOT })), true)
  assert.equal(may(narrowed(allowAssume(`${APP}2`)), APP, trust({ principal: ROOT })), false)
  assert.equal(
    may({ ...caller(), sessionPolicy: [allowAssume('*')] }, APP, trust({ principal: ROOT })),
    false,
  )
})

test('session tags require sts:TagSession in the trust policy', () => {
  assert.equal(may(caller(), APP, trust({ principal: NODE }), 'sts:TagSession'), true)
  assert.equal(may(caller(), APP, trust({ principal: NODE, tags: false }), 'sts:TagSession'), false)
})

const context = new Map([
  ['sts:externalid', ['abc']],
  ['aws:requesttag/team', ['Blue']],
  ['aws:tagkeys', ['team', 'app']],
  ['aws:principalarn', [NODE]],
  ['aws:principaltag/team', ['Blue']],
])

const conditions: [string, string, string | string[], boolean][] = [
  ['StringEquals', 'sts:ExternalId', 'abc', true],
  ['StringEquals', 'STS:externalid', ['x', 'abc'], true],
  ['StringEquals', 'sts:ExternalId', 'ABC', false],
  ['StringEquals', 'sts:ExternalId', 'a*', false],
  ['StringEquals', 'sts:RoleSessionName', 'x', false],
  ['StringEqualsIfExists', 'sts:RoleSessionName', 'x', true],
  ['StringNotEquals', 'sts:ExternalId', ['abc', 'x'], false],
  ['StringNotEquals', 'sts:RoleSessionName', 'x', true],
  ['StringEqualsIgnoreCase', 'aws:RequestTag/team', 'blue', true],
  ['StringLike', 'sts:ExternalId', 'a?c', true],
  ['StringLike', 'sts:ExternalId', 'b*', false],
  ['StringNotLike', 'sts:ExternalId', 'b*', true],
  ['ArnLike', 'aws:PrincipalArn', `arn:aws:iam::*:role/nodes/*`, true],
  ['ArnLike', 'aws:PrincipalArn', 'arn:aws:*:role/nodes/node', false],
  ['ArnNotEquals', 'aws:PrincipalArn', NODE, false],
  ['ForAllValues:StringEquals', 'aws:TagKeys', ['team', 'app', 'x'], true],
  ['ForAllValues:StringEquals', 'aws:TagKeys', ['team'], false],
  ['ForAnyValue:StringEquals', 'aws:TagKeys', ['team'], true],
  ['Null', 'sts:ExternalId', 'false', true],
  ['Null', 'sts:ExternalId', 'true', false],
  ['Null', 'sts:SourceIdentity', 'true', true],
  ['StringEquals', 'aws:RequestTag/team', '${aws:PrincipalTag/team}', true],
  ['StringEquals', 'aws:RequestTag/team', '${aws:PrincipalTag/none}', false],
]

for (const [operator, key, value, wanted] of conditions)
  test(`condition ${operator} ${key} ${JSON.stringify(value)} is ${wanted ? 'true' : 'false'}`, () => {
    assert.equal(conditionHolds({ [operator]: { [key]: value } }, context), wanted)
  })

test('a condition is true only if all of its operators and keys match', () => {
  const good = { 'sts:ExternalId': 'abc' }
  assert.equal(
    conditionHolds({ StringEquals: good, StringLike: { 'aws:RequestTag/team': 'R*' } }, context),
    false,
  )
  assert.equal(conditionHolds({ StringEquals: { ...good, 'aws:RequestTag/team': 'Red' } }, context), false)
  assert.equal(conditionHolds(undefined, context), true)
})

test('wildcards match the whole text, in linear time', () => {
  for (const [pattern, text] of [
    ['*', ''],
    ['a*c', 'abc'],
    ['a*c', 'ac'],
    ['*a*', 'xax'],
    ['?', 'x'],
    ['a**b', 'ab'],
  ])
    assert.equal(globMatches(pattern ?? '', text ?? ''), true, pattern)
  for (const [pattern, text] of [
    ['', 'a'],
    ['a*c', 'acd'],
    ['?', ''],
    ['ab', 'abc'],
    ['*ab', 'b'],
  ])
    assert.equal(globMatches(pattern ?? '', text ?? ''), false, pattern)
  const began = process.cpuUsage()
  assert.equal(globMatches('a*'.repeat(50), `${'a'.repeat(2000)}b`.repeat(1)), true)
  assert.equal(globMatches(`${'a*'.repeat(50)}c`, 'a'.repeat(2000)), false)
  assert.ok(process.cpuUsage(began).user < 500_000)
  assert.equal(arnMatches('arn:aws:iam::1:role/*', 'arn:aws:iam::1:role/a:b'), true)
})

const refused: [string, () => void, RegExp][] = [
  [
    'an unknown operator',
    () =>
      checkTrustPolicy({
        Statement: [
          {
            Effect: 'Allow',
            Principal: '*',
            Action: 'sts:AssumeRole',
            Condition: { StringEqual: { a: 'b' } },
          },
        ],
      }),
    /StringEqual is not evaluated/,
  ],
  [
    'a wildcard principal',
    () => checkTrustPolicy(trust({ principal: `arn:aws:iam::${ACCOUNT}:role/*` })),
    /Invalid principal in policy/,
  ],
  [
    'no principal',
    () => checkTrustPolicy({ Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole' }] }),
    /no Principal/,
  ],
  [
    'a resource in a trust policy',
    () =>
      checkTrustPolicy({
        Statement: [{ Effect: 'Allow', Principal: '*', Action: 'sts:AssumeRole', Resource: '*' }],
      }),
    /must not have a Resource/,
  ],
  [
    'a principal in an identity policy',
    () => checkIdentityStatements([{ ...allowAssume('*'), Principal: '*' }]),
    /must not have a Principal/,
  ],
  [
    'no resource',
    () => checkIdentityStatements([{ Effect: 'Allow', Action: 'sts:AssumeRole' }]),
    /no Resource/,
  ],
  [
    'an invalid action',
    () => checkIdentityStatements([{ Effect: 'Allow', Action: 'AssumeRole', Resource: '*' }]),
    /Action "AssumeRole"/,
  ],
  [
    'NotAction',
    () => checkIdentityStatements([{ ...allowAssume('*'), NotAction: 'x' } as Statement]),
    /NotAction, not evaluated/,
  ],
]

for (const [name, action, message] of refused)
  test(`a policy with ${name} is refused, not misread`, () => {
    assert.throws(action, message)
  })

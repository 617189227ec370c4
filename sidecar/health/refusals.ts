/**
 * Why a request is refused for its form, and what its sender can do: labels of the metric and texts of the log. These include
 * refusals by the HTTP parser, before there is a request: failures that are visible nowhere else.
 */

export const REFUSALS = {
  'host-foreign':
    "Ask for http://169.254.169.254 or EC2's own names; a name of one's own is refused, because web pages could use it (DNS rebinding).",
  'host-malformed':
    'Host must be a name or an address, perhaps with a port, without a path, a query, a user or white space.',
  'token-missing':
    'This pod requires session tokens (IMDSv2). Use a client that has them, or the annotation pod2iam.dev/imds-tokens: optional.',
  'token-invalid':
    'Get a session token of this pod with PUT /latest/api/token; those of other pods and instances are void.',
  'token-lifetime':
    'X-aws-ec2-metadata-token-ttl-seconds must be there once, and a whole number from 1 to 21600.',
  'token-path': 'EC2 gives session tokens at /latest/api/token only, without a slash at its end.',
  forwarded:
    'EC2 gives no session token to a proxy (X-Forwarded-For): let the client send requests without one.',
  method: 'Only GET and HEAD read metadata, and only PUT gets a session token.',
  'container-host':
    'Container credentials are given only at 127.0.0.1, as the variables say that the injector sets: leave them as they are.',
  'container-browser':
    'Container credentials are not given to browsers and proxies (Origin, Referer, Sec-*, Forwarded, X-Forwarded-*, Via).',
  'container-token-missing':
    'Send the content of the authorization token file as Authorization. SDKs that do not know the variable for it need pod2iam.dev/container-credentials: "off" (docs/clients.md).',
  'container-token-invalid':
    'Read the authorization token file before each request: its content changes every hour.',
  'target-malformed': 'The path must begin with a slash.',
  'target-undecodable': 'The path has a percent-encoding that is none, or one of a control character.',
  'target-too-long': 'A path has at most 4096 characters.',
  'headers-too-large':
    'Request line and headers have at most 8192 bytes and 100 lines: send fewer (baggage, cookies).',
  'body-too-large': 'A request has at most 4096 bytes of body; EC2 wants none at all.',
  'too-slow':
    'Headers must be complete after 5 s, and a request after 10 s: is the application short of CPU?',
  'cut-short': 'The client closed the connection in the middle of its request.',
  'after-close': 'What follows a request with Connection: close is not looked at.',
  tls: 'The metadata service speaks plain HTTP: the endpoint must begin with http://, not https://.',
  http2: 'The metadata service speaks HTTP/1.1: switch off HTTP/2 with prior knowledge in the client.',
  malformed:
    'The client does not speak HTTP/1.1 or HTTP/1.0; lines end in CR LF, and header lines are not folded.',
  pipelining: 'A connection may have 16 requests under way: wait for answers.',
  'too-many-connections': 'A pod may have 512 connections open: reuse them, or close them after use.',
  'internal-error': 'The log line before this one has the error; please report it.',
} as const

export type Refusal = keyof typeof REFUSALS

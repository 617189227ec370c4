// The AWS SDK for JavaScript v2 with its default chain, as one line of JSON.
process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = '1'
if (process.argv[2] === '--version') {
  console.log('aws-sdk', require('aws-sdk/package.json').version)
} else {
  const { CredentialProviderChain } = require('aws-sdk/global')
  new CredentialProviderChain().resolve((error, found) => {
    console.log(JSON.stringify(error ? { error: String(error) } : { accessKeyId: found.accessKeyId }))
  })
}

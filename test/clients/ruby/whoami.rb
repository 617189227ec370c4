# The AWS SDK for Ruby with its default chain, as one line of JSON.
require 'aws-sdk-core'
require 'json'

if ARGV == ['--version']
  puts "aws-sdk-core #{Aws::CORE_GEM_VERSION}"
else
  begin
    found = Aws::STS::Client.new(region: 'eu-west-1').config.credentials&.credentials
    puts JSON.generate(found ? { accessKeyId: found.access_key_id } : { error: 'the chain found no credentials' })
  rescue StandardError => error
    puts JSON.generate({ error: "#{error.class}: #{error.message}" })
  end
end

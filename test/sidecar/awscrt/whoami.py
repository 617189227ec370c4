# Prints as one JSON line the credentials that awscrt's default chain finds. The metadata service is the only source.
import json
from awscrt import auth, io

loop = io.EventLoopGroup(1)
bootstrap = io.ClientBootstrap(loop, io.DefaultHostResolver(loop))
try:
    found = auth.AwsCredentialsProvider.new_default_chain(bootstrap).get_credentials().result(30)
    print(json.dumps({"accessKeyId": found.access_key_id, "sessionToken": found.session_token}))
except Exception as error:
    print(json.dumps({"error": str(error)}))

// The AWS SDK for Java v2 with its default chain: who AWS says this is, once at the start and again for each line of stdin.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.services.sts.StsClient;

public final class Whoami {
  public static void main(String[] args) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in));
    do System.out.println(whoami());
    while (lines.readLine() != null);
  }

  // The chain offers no way to force a refresh: a chain of its own each time reads the metadata service again.
  private static String whoami() {
    try (var provider = DefaultCredentialsProvider.builder().build();
        var sts = StsClient.builder().credentialsProvider(provider).build()) {
      AwsCredentials credentials = provider.resolveCredentials();
      var expiration = credentials.expirationTime().map(time -> ",\"expiration\":" + quoted(time.toString()));
      return "{\"arn\":" + quoted(sts.getCallerIdentity().arn())
          + ",\"accessKeyId\":" + quoted(credentials.accessKeyId())
          + expiration.orElse("") + "}";
    } catch (SdkException error) {
      return "{\"error\":" + quoted(error.getMessage()) + "}";
    }
  }

  private static String quoted(String text) {
    var escaped = text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ");
    return "\"" + escaped + "\"";
  }
}

// Hadoop S3A's provider for instances, with which its default chain ends, as one line of JSON.
import org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider;
import org.apache.hadoop.util.VersionInfo;

public final class Whoami {
  public static void main(String[] args) throws Exception {
    if (args.length > 0 && args[0].equals("--version")) {
      System.out.println("Hadoop " + VersionInfo.getVersion());
      return;
    }
    try (var provider = new IAMInstanceCredentialsProvider()) {
      System.out.println("{\"accessKeyId\":" + quoted(provider.resolveCredentials().accessKeyId()) + "}");
    } catch (RuntimeException error) {
      System.out.println("{\"error\":" + quoted(String.valueOf(error.getMessage())) + "}");
    }
  }

  private static String quoted(String text) {
    var escaped = text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ");
    return "\"" + escaped + "\"";
  }
}

"""The S3 client of s3torchconnector (Mountpoint's): signs a request to the endpoint given."""

import sys
from importlib.metadata import version

if sys.argv[1:] == ["--version"]:
    print("s3torchconnectorclient", version("s3torchconnectorclient"))
else:
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    try:
        client = MountpointS3Client(
            "eu-west-1", endpoint=sys.argv[1], force_path_style=True, max_attempts=1
        )
        client.head_object("bucket", "key")
    except Exception as error:
        print(error)

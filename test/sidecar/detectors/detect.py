"""Prints as one line of JSON what OpenTelemetry's EC2 detector finds, or `{}` if it gives up."""
import json
import sys
from importlib.metadata import version

from opentelemetry.sdk.extension.aws.resource.ec2 import AwsEc2ResourceDetector

if sys.argv[1:] == ["--version"]:
    print("opentelemetry-sdk-extension-aws", version("opentelemetry-sdk-extension-aws"))
else:
    print(json.dumps(dict(AwsEc2ResourceDetector().detect().attributes)))

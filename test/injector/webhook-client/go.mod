module pod2iam.dev/webhook-client

go 1.26.0

module pod2iam.dev/pause

go 1.24

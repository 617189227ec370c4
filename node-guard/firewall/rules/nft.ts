/** The full name of an nft table, as in `inet pod2iam_guard`. */
export type TableName = `inet ${string}`

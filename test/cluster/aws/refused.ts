/** Exit code of the stand-in on a node on which something else answers at the metadata address. */
export const REFUSED = 3

#!/bin/sh
# wrap.sh ROOT PROGRAM: has PROGRAM run whoami.rb by the Ruby that Debian's packages unpacked below ROOT, and with its libraries.
set -eu
root=$1
script=$root/whoami.rb
cp "$(dirname "$0")/whoami.rb" "$script"
joined() { paste -sd : -; }
loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
ruby=$(find "$root/usr/bin" -name 'ruby3*' | head -n 1)
libraries=$(find "$root" -maxdepth 3 -type d -name '*-linux-gnu' | joined)
load=$({
  find "$root"/usr/lib/ruby "$root"/usr/lib/*-linux-gnu/ruby -maxdepth 2 -type d \( -name '3.*' -o -name vendor_ruby \)
  find "$root/usr/lib/ruby/gems" "$root/usr/share/rubygems-integration/all/gems" -maxdepth 4 -type d -name lib
} | joined)
printf '#!/bin/sh\nRUBYLIB=%s exec %s --library-path %s %s --disable-gems %s "$@"\n' \
  "$load" "$loader" "$libraries" "$ruby" "$script" >"$2"
chmod 755 "$2"

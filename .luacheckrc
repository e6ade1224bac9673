-- What luacheck (Debian's lua-check) holds the Lua of retouch/store/lua to; `make lint` runs it.
-- Scripts run in the sandbox of Redis: these names are there, and retouch/store/scripts.py makes locals of `require`
-- and `require_late`. So each file is checked as it stands, and names each module that it uses, and no other.
stds.sandbox = {
  read_globals = { 'cjson', 'redis', 'require', 'require_late', 'ipairs', 'math', 'next', 'pairs', 'string', 'table',
    'tonumber', 'type', 'unpack' },
}
std = 'sandbox'
files['retouch/store/lua/scripts'].read_globals = { 'ARGV' }  -- no script takes KEYS, and no module takes arguments
max_line_length = 120
max_cyclomatic_complexity = 11

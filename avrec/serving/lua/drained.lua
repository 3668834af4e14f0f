-- Let the open batch go, if it has this number: KEYS prefix; ARGV number.
local p = KEYS[1]
local batch = p .. ':batch'
if redis.call('HGET', batch, 'open') ~= '1' or redis.call('HGET', batch, 'number') ~= ARGV[1] then
  return
end
for _, name in ipairs({'events', 'served'}) do
  local last = redis.call('HGET', batch, name)
  if last ~= '0-0' then
    for _, entry in ipairs(redis.call('XRANGE', p .. ':' .. name, '-', last)) do
      local seq = string.match(entry[1], '^%d+')
      redis.call('SREM', p .. ':' .. name .. ':' .. entry[2][2], seq)
      redis.call('XDEL', p .. ':' .. name, entry[1])
    end
  end
end
redis.call('HSET', batch, 'open', 0)

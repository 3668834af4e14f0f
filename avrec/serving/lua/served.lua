-- Store a served list: KEYS prefix; ARGV request, user, rows. Sent again at once, it counts once.
local p = KEYS[1]
if redis.call('SET', p .. ':request:' .. ARGV[1], 1, 'NX', 'EX', 60) then
  local seq = redis.call('INCR', p .. ':seq')
  redis.call('XADD', p .. ':served', seq .. '-1', 'user', ARGV[2], 'row', ARGV[3])
  redis.call('SADD', p .. ':served:' .. ARGV[2], seq)
end

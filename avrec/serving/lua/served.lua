-- Store served lists: KEYS prefix; ARGV of each its request, user, rows. Sent again at once, it
-- counts once.
local p = KEYS[1]
for i = 1, #ARGV, 3 do
  if redis.call('SET', p .. ':request:' .. ARGV[i], 1, 'NX', 'EX', 60) then
    local seq = redis.call('INCR', p .. ':seq')
    redis.call('XADD', p .. ':served', seq .. '-1', 'user', ARGV[i + 1], 'row', ARGV[i + 2])
    redis.call('SADD', p .. ':served:' .. ARGV[i + 1], seq)
  end
end

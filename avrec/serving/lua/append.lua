-- Store events, each once: KEYS prefix; ARGV seconds to keep, events at hand for a user, then of
-- each event its id, user, time and row. Answers 1 for one that is fresh, else 0.
local p, keep, most, fresh = KEYS[1], ARGV[1], tonumber(ARGV[2]), {}
for i = 3, #ARGV, 4 do
  local id, user, at, row = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('SET', p .. ':id:' .. id, 1, 'NX', 'EX', keep) then
    local seq = redis.call('INCR', p .. ':seq')
    redis.call('XADD', p .. ':events', seq .. '-1', 'user', user, 'row', row)
    redis.call('SADD', p .. ':events:' .. user, seq)
    local hot = p .. ':hot:' .. user
    redis.call('ZADD', hot, at, string.format('%016d', seq) .. row)
    redis.call('ZREMRANGEBYRANK', hot, 0, -most - 1)
    redis.call('EXPIRE', hot, keep)
    fresh[#fresh + 1] = 1
  else
    fresh[#fresh + 1] = 0
  end
end
return fresh

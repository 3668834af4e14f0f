-- Forget a user: KEYS prefix; ARGV user, time. Answers how many events were deleted.
local p, user, at = KEYS[1], ARGV[1], ARGV[2]
local hot, gone, count = p .. ':hot:' .. user, {}, 0
local function later(one)
  if tonumber(one) > tonumber(at) then at = one end
end
for _, name in ipairs({'events', 'served'}) do
  local entries = p .. ':' .. name .. ':' .. user
  for _, seq in ipairs(redis.call('SMEMBERS', entries)) do
    redis.call('XDEL', p .. ':' .. name, seq .. '-1')
    if name == 'events' then gone[tonumber(seq)] = true end
  end
  redis.call('DEL', entries)
end
for _, member in ipairs(redis.call('ZRANGE', hot, 0, -1)) do
  gone[tonumber(string.sub(member, 1, 16))] = true
end
for _ in pairs(gone) do count = count + 1 end
local last = redis.call('ZRANGE', hot, -1, -1, 'WITHSCORES')
if last[2] then later(last[2]) end
later(redis.call('HGET', p .. ':forgotten', user) or at)
redis.call('HSET', p .. ':forgotten', user, string.format('%.0f', at))
redis.call('DEL', hot)
return count

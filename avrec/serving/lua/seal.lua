-- Give the open batch, else begin one: KEYS prefix; ARGV most events, and lists, to begin one with.
-- Answers its number, the events and the lists; nothing where nothing is left.
local p = KEYS[1]
local batch = p .. ':batch'
if redis.call('HGET', batch, 'open') ~= '1' then
  local any = false
  for _, name in ipairs({'events', 'served'}) do
    local found = redis.call('XRANGE', p .. ':' .. name, '-', '+', 'COUNT', ARGV[1])
    any = any or #found > 0
    redis.call('HSET', batch, name, #found > 0 and found[#found][1] or '0-0')
  end
  if not any then return {} end
  redis.call('HINCRBY', batch, 'number', 1)
  redis.call('HSET', batch, 'open', 1)
end
local answer = {tonumber(redis.call('HGET', batch, 'number'))}
for i, name in ipairs({'events', 'served'}) do
  local last = redis.call('HGET', batch, name)
  answer[i + 1] = last == '0-0' and {} or redis.call('XRANGE', p .. ':' .. name, '-', last)
end
return answer

-- Give the notes that changed after a number, in order: KEYS prefix; ARGV number, how many at most.
-- Answers name, number and text of each.
local found = redis.call('ZRANGEBYSCORE', KEYS[1] .. ':numbers', '(' .. ARGV[1], '+inf',
  'WITHSCORES', 'LIMIT', 0, ARGV[2])
local answer = {}
for i = 1, #found, 2 do
  answer[#answer + 1] = {found[i], found[i + 1], redis.call('HGET', KEYS[1] .. ':notes', found[i])}
end
return answer

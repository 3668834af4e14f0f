-- Write a note: KEYS prefix; ARGV name, text, the number that it must have, -1 for any. Answers its
-- number, 0 where it has another one.
local notes, numbers, name = KEYS[1] .. ':notes', KEYS[1] .. ':numbers', ARGV[1]
local number = tonumber(redis.call('ZSCORE', numbers, name) or 0)
if number > 0 and redis.call('HGET', notes, name) == ARGV[2] then return number end
if ARGV[3] ~= '-1' and number ~= tonumber(ARGV[3]) then return 0 end
number = redis.call('INCR', KEYS[1] .. ':number')
redis.call('HSET', notes, name, ARGV[2])
redis.call('ZADD', numbers, number, name)
return number

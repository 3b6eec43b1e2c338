-- lapse: a message was not delivered: it covers nothing more.
-- KEYS[1]  staffetta:cover:<source>:<person>
-- ARGV[1]  IO's message id
-- Returns  1, or 0 where it does not cover, or another one does by now
local kind, id = string.match(redis.call('GET', KEYS[1]) or '', '^(%a):%d+:(.*)$')
if kind ~= 't' or id ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1

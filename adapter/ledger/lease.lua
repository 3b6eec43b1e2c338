-- lease: takes, keeps or gives back the right to do one thing, which one replica has at a time.
-- KEYS[1]  staffetta:lease:<name>  string, the token of whom it belongs to
-- ARGV[1]  token of who asks
-- ARGV[2]  for how long in ms; "0" gives it back
-- Returns  "held" | "taken" (by somebody else) | "free" (given back)
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 'taken' end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 'free'
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'held'

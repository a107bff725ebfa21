-- Drop the cells that a lookup met past their lifetime, unless they were renewed meanwhile, and a hash of
-- another owner. KEYS: the hash. ARGV: tag, lifetime in ticks, ids.
local field = redis.call('HGET', KEYS[1], META)
if not field or string.sub(field, 1, TAG_BYTES) ~= ARGV[1] then return redis.call('DEL', KEYS[1]) end
local gone = {}
for i = 3, #ARGV do
  local cell = known(redis.call('HGET', KEYS[1], ARGV[i]))
  local left = standing(cell)
  if cell and not held(left) and not is_unsettled(left)
    and (not left or number_at(left, 3, 5) + tonumber(ARGV[2]) <= NOW) then
    gone[#gone + 1] = ARGV[i]
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
return #gone

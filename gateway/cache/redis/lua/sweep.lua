-- Drop the cells that a lookup met past their lifetime or cut short, unless they were renewed meanwhile, and
-- a hash of another owner or without a version. KEYS: the hash. ARGV: tag, lifetime in ticks, ids.
local field = redis.call('HGET', KEYS[1], META) or ''
if string.sub(field, 1, TAG_BYTES) ~= ARGV[1] or string.find(field, '^[^%d]', TAG_BYTES + 1) then
  return redis.call('DEL', KEYS[1])
end
local gone = {}
for i = 3, #ARGV do
  local cell = redis.call('HGET', KEYS[1], ARGV[i])
  local left = standing(cell)
  if cell and string.byte(cell, 1) == FORMAT and fillable(left)
    and (not left or number_at(left, 3, 5) + tonumber(ARGV[2]) <= NOW) then
    gone[#gone + 1] = ARGV[i]
  end
end
in_steps(gone, function(...) redis.call('HDEL', KEYS[1], ...) end)
return #gone

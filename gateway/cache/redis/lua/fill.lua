-- Store what Apple answered, unless a write came in between. KEYS: main, [variant].
-- ARGV: tag, ttl, version, bound, variant's tag or '', variant's name or '', freshness in ms, then id and content
-- in turn.
local tag, ttl, version, bound, variant_tag, name = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local fresh = tonumber(ARGV[7])
local meta, hash = open(KEYS[1], tag), KEYS[2] or KEYS[1]
if digits(meta.version) ~= version then return 0 end

local function admitted()
  for _, kept in ipairs(meta.variants) do
    if kept == name then return true end
  end
  if not make_place(meta, ttl, fresh, true) then return false end
  -- Writes did not update what is left there since the variant lost its place.
  redis.call('DEL', hash)
  meta.variants[#meta.variants + 1] = name
  return true
end

if KEYS[2] then
  if not admitted() then
    save(meta, ttl)
    return -1
  end
  if meta_field(hash) ~= variant_tag then redis.call('DEL', hash) end
  redis.call('HSET', hash, META, variant_tag)
end
save(meta, ttl)
local ids, filled = {}, {}
for i = 8, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local records = redis.call('HMGET', KEYS[1], unpack(ids))
for i, id in ipairs(ids) do
  if fillable(records[i]) then
    filled[#filled + 1] = id
    filled[#filled + 1] = stored_rating(ARGV[7 + 2 * i])
  end
end
in_steps(filled, function(...) redis.call('HSET', hash, ...) end)
redis.call('PEXPIRE', hash, ttl)
keep_bound(hash, bound)
return 1

-- A write has ended. KEYS: main, [twin].
-- ARGV: tag, ttl, twin's tag, hold, stamp or '', channel, news, id, 'unchanged' | 'unknown' | 'value', content, bound,
-- then, if the rating is announced once it is stored, the channel and the announcement.
local tag, ttl, twin_tag, hold, stamp = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local channel, news, id, outcome, content = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local meta = open(KEYS[1], tag)
local version = raise(meta)
local cell = standing(redis.call('HGET', KEYS[1], id))
local promised = outcome ~= 'value' and held(cell)
local after = promised and ending(version, promised)
if is_unsettled(cell) and (string.byte(cell, 9) == 1 or digits(number_at(cell, 10, 7)) ~= stamp) then
  local writers = math.max(writers_of(cell) - 1, 0)
  after = unsettled(version, writers, true, writers > 0 and number_at(cell, 3, 5) or NOW + hold, promised)
elseif not is_unsettled(cell) and held(cell) then
  after = unsettled(version, 0, true, NOW + hold, promised)
elseif outcome == 'value' then
  after = rated(content, hold)
elseif outcome == 'unknown' then
  after = unsettled(version, 0, false, NOW + hold, promised)
end
if after then redis.call('HSET', KEYS[1], id, after) else redis.call('HDEL', KEYS[1], id) end
drop_in_variants(meta, { id })
save(meta, ttl)
keep_bound(KEYS[1], tonumber(ARGV[11]))
if outcome ~= 'unchanged' then mark_twin(hold, ttl, twin_tag) end
publish(channel, news)
local stored = after and not is_unsettled(after)
if stored and ARGV[12] then publish(ARGV[12], ARGV[13], ',"version":' .. digits(version)) end
return stored and 1 or 0

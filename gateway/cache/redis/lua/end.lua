-- A write has ended. KEYS: main, [paired].
-- ARGV: tag, ttl, paired tag, hold, stamp or '', channel, message, id, 'unchanged' | 'unknown' | 'accepted' | 'value',
-- content, bound, then, if the rating is announced once it is stored, the channel and the announcement.
-- Returns whether it is stored, what is appended to the announcement (the version, and the time), and if there is no
-- stamp the record before, or ''.
local tag, ttl, paired_tag, hold, stamp = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local channel, message, id, outcome, content = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local meta = open(KEYS[1], tag)
local version = raise(meta)
local record = standing(redis.call('HGET', KEYS[1], id))
local held_rating = (outcome == 'unchanged' or outcome == 'unknown') and held(record)
local after = held_rating and ending(version, held_rating)
local mark = is_pending(record) and string.byte(record, 9)
if is_pending(record) and (mark == CONTESTED or digits(number_at(record, 10, 7)) ~= stamp) then
  local writers = math.max(writers_of(record) - 1, 0)
  after = pending_write(version, writers, CONTESTED, writers > 0 and number_at(record, 3, 5) or NOW + hold, held_rating)
elseif not is_pending(record) and held(record) then
  after = pending_write(version, 0, CONTESTED, NOW + hold, held_rating)
elseif outcome == 'value' then
  after = stored_rating(content, hold)
elseif outcome ~= 'unchanged' or mark == AFTER_UNKNOWN then
  after = pending_write(version, 0, 0, NOW + hold, held_rating)
end
if after then redis.call('HSET', KEYS[1], id, after) else redis.call('HDEL', KEYS[1], id) end
drop_in_variants(meta, { id })
save(meta, ttl)
keep_bound(KEYS[1], tonumber(ARGV[11]))
if outcome ~= 'unchanged' then mark_paired(hold, ttl, paired_tag) end
publish(channel, message)
local stored = after and not is_pending(after)
if stored and ARGV[12] then publish(ARGV[12], ARGV[13], ',"version":' .. digits(version)) end
return { stored and 1 or 0, digits(version), digits(MICROS), stamp == '' and record or '' }

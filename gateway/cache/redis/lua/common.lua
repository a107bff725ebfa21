-- Shared by all scripts: Redis' time, fields as in codec.py, meta as in layout.py, and the rule of write_rule.py.
-- A hash with another owner's tag is deleted.
local CLOCK = redis.call('TIME')
local MICROS = CLOCK[1] * 1000000 + CLOCK[2]
local NOW = math.floor(MICROS / 10000)
local FORMAT, PENDING, HOLD = 1, 4, 128
local CONTESTED, AFTER_UNKNOWN = 1, 2
local META, TAG_BYTES, STEP = '.', 8, 1000

local function pack(number, size)
  local bytes = {}
  for i = size, 1, -1 do
    bytes[i] = string.char(number % 256)
    number = math.floor(number / 256)
  end
  return table.concat(bytes)
end

local function number_at(text, from, size)
  local number = 0
  for i = from, from + size - 1 do number = number * 256 + string.byte(text, i) end
  return number
end

local function in_steps(list, call)
  for i = 1, #list, STEP do call(unpack(list, i, math.min(i + STEP - 1, #list))) end
end

-- Records, as bytes; false where there is none.

local function known(record)
  if not record or #record < 7 or string.byte(record, 1) ~= FORMAT then return false end
  local code = string.byte(record, 2)
  return #record >= (code == PENDING and 16 or code >= HOLD and 12 or 7) and record
end

local function is_pending(record)
  return record and string.byte(record, 2) == PENDING
end

local function nested(record)
  return known(string.sub(record, 17))
end

local function held(record)
  record = known(record)
  if is_pending(record) then record = nested(record) end
  return record and string.byte(record, 2) >= HOLD and NOW < number_at(record, 8, 5) and record
end

local function stored_rating(content, hold)
  local code, rest = string.byte(content, 1), string.sub(content, 2)
  if not hold then return string.char(FORMAT, code) .. pack(NOW, 5) .. rest end
  return string.char(FORMAT, code + HOLD) .. pack(NOW, 5) .. pack(NOW + hold, 5) .. rest
end

local function pending_write(stamp, writers, mark, till, before)
  return string.char(FORMAT, PENDING) .. pack(till, 5)
    .. string.char(math.min(writers, 255), mark) .. pack(stamp, 7) .. (before or '')
end

-- A hold that leaves nothing when it ends.
local function ending(stamp, held_rating)
  return pending_write(stamp, 0, 0, number_at(held_rating, 8, 5), held_rating)
end

local function standing(record)
  record = known(record)
  if is_pending(record) and NOW >= number_at(record, 3, 5) then
    local held_rating = held(record)
    return held_rating and ending(number_at(record, 10, 7), held_rating)
  end
  return record
end

local function fillable(record)
  return not is_pending(standing(record)) and not held(record)
end

local function writers_of(record)
  return is_pending(record) and string.byte(record, 8) or 0
end

-- Whether earlier writes, which have ended, left the rating unknown.
local function is_unknown(record)
  if not is_pending(record) or writers_of(record) > 0 then return false end
  local held_rating = held(record)
  return not held_rating or record ~= ending(number_at(record, 10, 7), held_rating)
end

-- Meta.

-- The meta of a key, or '' if it has none or is not a hash.
local function meta_field(key)
  local field = redis.pcall('HGET', key, META)
  return type(field) == 'string' and field or ''
end

local function open(key, tag)
  local meta = { key = key, tag = tag, version = 0, stamp = 0, at = 0, till = 0, variants = {} }
  local field = meta_field(key)
  if string.sub(field, 1, TAG_BYTES) ~= tag then
    redis.call('DEL', key)
    return meta
  end
  local words = {}
  for word in string.gmatch(string.sub(field, TAG_BYTES + 1), '%S+') do words[#words + 1] = word end
  local function number(word) return tonumber(word or 0) or 0 end
  meta.version, meta.stamp, meta.at, meta.till = number(words[1]), number(words[2]), number(words[3]), number(words[4])
  for i = 5, #words do meta.variants[#meta.variants + 1] = words[i] end
  return meta
end

local function digits(number)
  return string.format('%.0f', number)
end

-- Publish a JSON object, to which the time (and `more`) is appended: the optional fields of Message in
-- invalidation.py.
local function publish(channel, message, more)
  local fields = (more or '') .. ',"published":' .. digits(MICROS) .. '}'
  redis.call('PUBLISH', channel, string.sub(message, 1, -2) .. fields)
end

local function save(meta, ttl)
  local words = { digits(meta.version) }
  if meta.stamp > 0 or #meta.variants > 0 then
    words = { words[1], digits(meta.stamp), digits(meta.at), digits(meta.till), unpack(meta.variants) }
  end
  redis.call('HSET', meta.key, META, meta.tag .. table.concat(words, ' '))
  redis.call('PEXPIRE', meta.key, ttl)
end

local function raise(meta)
  meta.version = math.max(meta.version + 1, MICROS)
  return meta.version
end

-- The trace of a write on the paired type.
local function paired_write(meta, stamp, hold)
  meta.stamp, meta.at, meta.till = stamp, NOW, NOW + hold
end

local function variant_key(meta, name)
  return meta.key .. ':' .. name
end

local function drop_in_variants(meta, ids)
  for _, name in ipairs(meta.variants) do
    local key = variant_key(meta, name)
    in_steps(ids, function(...)
      -- Not a hash: a script that failed here would leave its work half done.
      if type(redis.pcall('HDEL', key, ...)) == 'table' then redis.call('DEL', key) end
    end)
  end
end

local function drop_variants(meta)
  for _, name in ipairs(meta.variants) do redis.call('DEL', variant_key(meta, name)) end
  meta.variants = {}
end

-- Whether one more variant finds a place: that of a hash that is gone, or of the one that was unused longest if
-- that is at least `fresh` ms. Each use renews a hash's expiry, so what is left of it shows how long it is unused.
local function make_place(meta, ttl, fresh, take)
  if #meta.variants < MAX_VARIANTS then return true end
  local kept, oldest, least = {}, nil, math.huge
  for _, name in ipairs(meta.variants) do
    local left = redis.call('PTTL', variant_key(meta, name))
    if left ~= -2 then
      kept[#kept + 1] = name
      if left < least then oldest, least = name, left end
    end
  end
  meta.variants = kept
  if #kept < MAX_VARIANTS then return true end
  if ttl - least < fresh then return false end
  if take then
    redis.call('DEL', variant_key(meta, oldest))
    for i, name in ipairs(kept) do
      if name == oldest then
        table.remove(kept, i)
        break
      end
    end
  end
  return true
end

local function mark_paired(hold, ttl, tag)
  if KEYS[2] then
    local paired = open(KEYS[2], tag)
    paired_write(paired, raise(paired), hold)
    save(paired, ttl)
  end
end

-- Above the bound, drop the oldest down to nine tenths, so that not every call sorts. Pending writes and holds
-- go last, the newest never.
local function keep_bound(key, bound)
  if redis.call('HLEN', key) - 1 <= bound then return end
  local fields, ages = redis.call('HGETALL', key), {}
  for i = 1, #fields, 2 do
    if fields[i] ~= META then
      local record = standing(fields[i + 1])
      local protected = is_pending(record) or held(record)
      ages[#ages + 1] = { record and number_at(record, 3, 5) + (protected and 2 ^ 40 or 0) or 0, fields[i] }
    end
  end
  table.sort(ages, function(one, other) return one[1] < other[1] end)
  local gone = {}
  for i = 1, #ages - math.max(math.floor(bound * 0.9), 1) do gone[i] = ages[i][2] end
  in_steps(gone, function(...) redis.call('HDEL', key, ...) end)
end

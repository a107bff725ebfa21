-- Whether one more variant finds a place. KEYS: main. ARGV: tag, ttl.
local meta = open(KEYS[1], ARGV[1])
local before = #meta.variants
prune(meta)
if #meta.variants < before then save(meta, ARGV[2]) end
return #meta.variants < MAX_VARIANTS and 1 or 0

--[[
  identity: which file a record means. Only this part and filesystem/identity.py know the form of an identity:

    g<ino>.<birth>.<handle>, b<ino>.<birth>, h<ino>.<handle>, w<ino>.<other numbers>; or two of them with a +

  Needs    has
  Defines  facts, is_same_object, is_same_file, better_identity
]]
-- Returns the inode number, the birth time and the file handle; nil for what the identity does not contain.
local function facts(identity)
  local kind, ino, rest = string.match(identity, '^([gbhw])([^.+]+)%.([^+]+)$')
  if kind == 'g' then
    return ino, string.match(rest, '^([^.]+)%.(.+)$')
  end
  return ino, kind == 'b' and rest or nil, kind == 'h' and rest or nil
end

-- Two objects differ if they differ in a fact that both identities contain. One process may see less than another,
-- and a write changes the other numbers of a weak identity (w). So if it cannot be decided, it is the same object:
-- the record then keeps the later deadline, and the comparison before the deletion decides.
local function is_same_object(a, b)
  if a == b then
    return true
  end
  local ino, birth, handle = facts(a)
  local other_ino, other_birth, other_handle = facts(b)
  return ino ~= nil and ino == other_ino
    and (not birth or not other_birth or birth == other_birth)
    and (not handle or not other_handle or handle == other_handle)
end

-- Whether a registration with *identity* and *flags* means the file of a record; false if that one is damaged.
local function is_same_file(old_identity, old_flags, identity, flags)
  if not old_identity then
    return false
  end
  if has(flags, 'u') then
    return true
  end
  if has(old_flags, 'd') ~= has(flags, 'd') then
    return false
  end
  if old_identity == '-' or identity == '-' then
    -- create() made the name, which is never used twice; or the record means the file of this name, unseen
    return true
  end
  -- while a file is being compressed or decompressed, its record has the identities of both objects
  for part in string.gmatch(old_identity, '[^+]+') do
    if is_same_object(part, identity) then
      return true
    end
  end
  return false
end

-- Returns the identity that the record of one file keeps: the one with more facts; of two weak ones the newer.
local function better_identity(old, old_flags, new)
  local is_named_by_us = old == '-' and has(old_flags, 'c')
  if new == '-' or is_named_by_us or has(old, '+') then
    return old
  end
  local order = 'wbhg'
  local old_rank = string.find(order, string.sub(old, 1, 1), 1, true) or 0
  local new_rank = string.find(order, string.sub(new, 1, 1), 1, true) or 0
  return new_rank >= old_rank and new or old
end

"""When schedules fire. Pure. The door is `fires` for instants, and `due` for what a registry has to start now."""

"""What the gateway does with webhooks: finds their trigger, verifies them, starts runs. Start at `routes`."""

"""The disk by descriptor: nothing here deletes a user's file."""

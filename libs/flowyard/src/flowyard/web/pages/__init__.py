"""What services with pages for people share: templates, assets, the login, and who may send what.

`site` says where a service's pages are, `entrance` what checks who gets to them, `session_guard` is their door.
"""

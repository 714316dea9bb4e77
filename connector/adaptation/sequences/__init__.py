"""Jobs over histories: what will this user take next?"""
